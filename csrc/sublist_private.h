/* sublist_private.h: what sublist.c (who subscribes) and match.c (results and their cache) share.
 *
 *   trie value = the address of a subscription, + 1, where one plain local subscription is all there is: the common case of many
 *                wildcard subscriptions, which then costs a match no look at the interest. Else:
 *   trie value = node_interest --- plain[]                subscriptions without a queue (the first one lies in `one`)
 *                              |-- peers                  bit mask of remote plain interest
 *                              |-- groups[] -> qgroup --- members[], remotes[]
 *                              `-- claim                  what our peers were told about it (each qgroup has one, too)
 *   names[]  ONE open-addressed table of all queue groups, keyed by (interest, queue name)
 *
 * An interest lives while it holds anything that matches, or while its claim still has to be told or withdrawn.
 */
#ifndef SPLINE_SUBLIST_PRIVATE_H
#define SPLINE_SUBLIST_PRIVATE_H
#include "sublist.h"
#include "trie.h"

#define RECENT 64               /* wildcard changes that cached results are checked against */
#define SEEN_FIRST 7            /* bits: places for misses at first */
#define RECENT_TEXT 124         /* longer patterns count as if they matched everything */
#define CACHE_BYTES (32u << 20) /* results copied into one sublist's cache; large merged fan-outs would fill memory */
#define CACHE_ENTRY_BYTES (2u << 20) /* a larger result is computed each time */

struct claim { /* the announcement of one (subject, queue) */
    struct claim *next;
    uint64_t seq;       /* the batch that told it first */
    uint32_t announced; /* the weight that was told, 0 = none */
    bool dirty;         /* in the dirty list */
    bool is_group;
};

struct node_interest { /* matching looks at the first line only */
    _Alignas(64) struct sub **plain;
    struct sub *one;
    uint64_t peers;
    struct qgroup **groups;
    uint32_t nplain, cap_plain; /* cap_plain 0: a free item of a block */
    uint32_t ngroups, cap_groups;
    struct trie_ref ref;
    bool wild;
    uint16_t nhidden;  /* of plain: what peers are not told of */
    uint32_t nshadows; /* of plain */
    uint64_t askable;  /* of peers: those that have more than shadows */
    struct claim claim;
};

static inline bool value_is_sub(const void *value) { return (uintptr_t)value & 1; }
static inline struct sub *value_sub(const void *value) { return (struct sub *)((uintptr_t)value - 1); }
static inline struct node_interest *value_interest(void *value)
{
    return value_is_sub(value) ? value_sub(value)->at : value;
}

/* Interests lie in blocks (ever larger ones, so that small lists stay small), because single ones all over the heap cost a match
 * more cache and TLB misses. */
struct block {
    struct block *next;
    uint32_t count;
    struct node_interest items[];
};

struct qgroup {
    struct node_interest *at;
    struct sub **members;
    struct remote *remotes;
    uint32_t nmembers, cap_members, nremotes, cap_remotes;
    uint32_t nshadows; /* of members */
    uint32_t slot;     /* in at->groups */
    uint32_t hash;
    uint32_t name_len;
    struct claim claim;
    char name[];
};

struct change {   /* a pattern whose interest changed */
    uint32_t len; /* UINT32_MAX: unknown, matches everything */
    char text[RECENT_TEXT];
};

struct entry {      /* a result */
    struct match m; /* first: callers hold its address */
    uint64_t hash;
    uint64_t as_of; /* scratch: the generation, others: the count of wildcard changes it was checked against */
    bool scratch, stale, used;
    char *mem; /* subject and whatever had to be copied */
    size_t cap_mem;
};

struct slot {
    uint32_t tag, entry;
}; /* entry: index + 1 */

struct sublist {
    struct trie trie;
    uint64_t generation;
    uint32_t serial;
    struct block *blocks;
    struct node_interest *free_interests; /* linked through `groups` */
    /* queue groups by name */
    struct qgroup **names;
    uint32_t nnames, names_bits;
    /* announcements */
    bool track;
    struct claim *dirty, **dirty_end;
    /* results (match.c) */
    struct entry scratch;
    struct entry **entries; /* allocated one by one as they are needed: their addresses stay */
    uint32_t nentries, cap_entries, max_entries, hand;
    struct slot *slots;
    uint32_t slots_bits, nslots;
    uint16_t *seen;                  /* tags of recent misses: only a subject that misses twice is worth an entry */
    uint32_t seen_bits, seen_misses; /* misses: since it has grown */
    size_t cache_bytes;
    struct change *recent;
    uint64_t nrecent;
    uint32_t *merge; /* room to find groups by name while merging */
    uint32_t merge_cap;
    struct sublist_stats stats;
};

/* match.c */
void match_init(struct sublist *l, uint32_t cache_entries);
void match_clear(struct sublist *l);
/* Results for subjects that this pattern matches are out of date from now on. Cannot fail. */
void match_changed(struct sublist *l, const char *pattern, size_t n, bool wild);
#endif
