/* The sublist: which subscriptions does a published subject meet?
 *
 * A trie of tokens with separate literal, '*' and '>' branches. It holds this process's own subscriptions and, aggregated,
 * the interest of peer processes: for plain subscriptions one bit a peer, for queue groups a member count a peer.
 *
 *   node { parent, star, gt, nkids, token }   nodes live in one array and name each other by index;
 *        \__ interest (only where something ends): plain[] , groups[] -> members[], remote weights , peer bits
 *   edges: ONE open-addressed table for the whole trie, keyed by (parent node, token hash): a literal step costs one probe
 *
 * Results are cached by subject in a fixed number of entries. A change does not throw the cache away: every insert or removal
 * that changes results is noted in a short ring of recent patterns, and an entry older than the newest change is only
 * recomputed if one of the patterns since then matches its subject. An entry's `serial` changes whenever its contents do,
 * so that a connection may keep (entry, serial) of its last subject.
 *
 * Lifetime: sublist_remove may be called at any time except while a caller walks a result; dead subscriptions are marked
 * (`sub->dead`) by delivery and removed at the end of the turn by the caller.
 */
#ifndef SPLINE_SUBLIST_H
#define SPLINE_SUBLIST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUBLIST_MAX_PEERS 64

struct qgroup;
struct node_interest;

/* In sub->special: our own affair, peers are not told of it; and one that takes nothing that has crossed accounts already. */
#define SUB_HIDDEN 128
#define SUB_SHADOW 64
/* In an interest's weight: all of it are shadows. Whoever sends what has crossed accounts must know that nobody there takes it. */
#define SHADOWS_ONLY (1u << 31)

/* A subscription. Owned (allocated and freed) by the caller; the sublist only links it. */
struct sub {
    void *owner;              /* the connection */
    struct node_interest *at; /* sublist's: where it hangs, NULL when not inserted */
    struct qgroup *group;     /* sublist's: NULL for a plain subscription */
    uint32_t slot;            /* sublist's: index within plain[] or members[] */
    bool dead;                /* caller's: skip at delivery, removed at the end of the turn */
    uint8_t special;          /* caller's, but for SUB_HIDDEN: delivery must look closer */
    uint16_t sid_len;         /* caller's, with all below */
    uint64_t delivered, max;
    struct shadow *shadows; /* what it casts on other accounts */
    char *subject;          /* caller's own copy, subject_len bytes; queue follows it (queue_len bytes, 0 = plain) */
    uint16_t subject_len, queue_len;
    uint32_t sid_hash;
    char *sid;
};

struct remote {
    uint16_t peer;
    bool shadows; /* all of them */
    uint32_t weight;
};

/* One queue NAME among the matching subscriptions, merged over all patterns. Weights: one a local member, `weight` a peer. */
struct match_group {
    const char *name;
    uint32_t name_len;
    uint32_t nlocal, nremote;
    uint32_t remote_weight; /* sum over remotes */
    struct sub **local;
    struct remote *remote;
};
/* What one subject meets. Valid until the sublist changes (compare `serial`). */
struct match {
    uint32_t serial;
    uint32_t nplain;
    uint32_t ngroups;
    uint32_t subject_len;
    uint64_t peers;   /* bit p: peer p has plain interest */
    uint64_t askable; /* and not of shadows alone */
    struct sub **plain;
    struct match_group *groups;
    char *subject;
    /* the sublist's own bookkeeping may follow in the private definition */
};

struct sublist_stats {
    uint64_t subs, inserts, removes, matches, cache_hits, cache_entries, nodes;
};

struct sublist;
/* `cache_entries` 0 disables the cache. NULL: out of memory. */
struct sublist *sublist_new(uint32_t cache_entries);
void sublist_free(struct sublist *l); /* does not free the subs */

/* Link a subscription with sub->subject/queue set. 0 or -1 (out of memory; nothing changed). */
int sublist_insert(struct sublist *l, struct sub *sub);
void sublist_remove(struct sublist *l, struct sub *sub);

/* A peer's interest: weight members of `queue` (queue_len 0: plain, weight 0 or 1) in `subject`, perhaps with SHADOWS_ONLY; weight 0
 * removes. Returns the weight it had before, or -1 (out of memory). */
int64_t sublist_set_remote(struct sublist *l, uint32_t peer, const char *subject, size_t n, const char *queue,
                           size_t nq, uint32_t weight);
/* Drop everything a peer announced. */
void sublist_drop_peer(struct sublist *l, uint32_t peer);

/* What a subject meets; never NULL except when out of memory. A subject with an empty token meets nothing. Wildcard
 * characters in `subject` are plain text ("foo.*" is met by the patterns foo.*, foo.> and >, not by foo.bar). */
const struct match *sublist_match(struct sublist *l, const char *subject, size_t n);
/* True if a kept (m, serial) still answers for `subject` exactly as sublist_match would (revalidates against recent changes). */
bool sublist_match_current(struct sublist *l, const struct match *m, uint32_t serial);
/* A number that changes whenever any result may have changed. Lives as long as the sublist. */
const uint64_t *sublist_generation(const struct sublist *l);

/* Interest transitions of LOCAL subscriptions, for announcing to peers. While `on`, every (subject, queue) whose local member count
 * differs from what was last announced is kept in a dirty list, once. */
void sublist_track(struct sublist *l, bool on);
/* A barrier number is attached to what is announced: */
typedef void (*interest_fn)(void *arg, const char *subject, size_t n, const char *queue, size_t nq, uint32_t weight,
                            uint32_t was); /* `was`: the weight announced before */
/* Calls fn for each dirty interest with its present local weight (0 = gone; plain: 0 or 1), marks it announced in batch `seq`,
 * and empties the list. Interest that came and went unannounced is skipped. Returns the number of calls. */
uint32_t sublist_flush_interest(struct sublist *l, uint64_t seq, interest_fn fn, void *arg);
bool sublist_dirty(const struct sublist *l);
/* Calls fn for all announced local interest (a snapshot for a joining peer). */
void sublist_each_interest(struct sublist *l, interest_fn fn, void *arg);
/* The batch in which the interest that `sub` belongs to was (or, if not yet announced, will be: `next`) announced. */
uint64_t sublist_announced(const struct sublist *l, const struct sub *sub, uint64_t next);

void sublist_stats(const struct sublist *l, struct sublist_stats *out);
/* Over the cached results: the most receivers of one, and the sum over all. */
void sublist_fanout(const struct sublist *l, uint64_t *max, uint64_t *sum);
#endif
