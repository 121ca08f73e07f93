/* sublist.c: who subscribes to what, and what our peers know of it. Results are computed in match.c. */
#include "subject.h"
#include "sublist_private.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct sublist *sublist_new(uint32_t cache_entries)
{
    struct sublist *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->dirty_end = &l->dirty;
    if (trie_init(&l->trie) != 0) {
        free(l);
        return NULL;
    }
    match_init(l, cache_entries);
    return l;
}

/* ---- memory of interests ---- */

#define BLOCK_MOST ((2u << 20) / sizeof(struct node_interest) - 1)

static struct node_interest *interest_new(struct sublist *l)
{
    if (!l->free_interests) {
        uint32_t count = l->blocks ? l->blocks->count * 2 : 4;
        if (count > BLOCK_MOST) count = BLOCK_MOST;
        struct block *b = lines_alloc(sizeof *b + count * sizeof *b->items);
        if (!b) return NULL;
        b->next = l->blocks;
        b->count = count;
        l->blocks = b;
        for (uint32_t i = count; i-- > 0;) {
            b->items[i].cap_plain = 0;
            b->items[i].groups = (struct qgroup **)(void *)l->free_interests;
            l->free_interests = &b->items[i];
        }
    }
    struct node_interest *it = l->free_interests;
    l->free_interests = (struct node_interest *)(void *)it->groups;
    memset(it, 0, sizeof *it);
    it->plain = &it->one;
    it->cap_plain = 1;
    return it;
}

static void interest_clear(struct node_interest *it)
{
    for (uint32_t i = 0; i < it->ngroups; i++) {
        free(it->groups[i]->members);
        free(it->groups[i]->remotes);
        free(it->groups[i]);
    }
    if (it->plain != &it->one) free(it->plain);
    free(it->groups);
}

static void interest_free(struct sublist *l, struct node_interest *it)
{
    interest_clear(it);
    it->cap_plain = 0;
    it->groups = (struct qgroup **)(void *)l->free_interests;
    l->free_interests = it;
}

void sublist_free(struct sublist *l)
{
    if (!l) return;
    for (struct block *b = l->blocks, *next; b; b = next) {
        next = b->next;
        for (uint32_t i = 0; i < b->count; i++)
            if (b->items[i].cap_plain) interest_clear(&b->items[i]);
        free(b);
    }
    match_clear(l);
    trie_clear(&l->trie);
    free(l->names);
    free(l);
}

/* ---- growing arrays ---- */

/* Make room for one more element in a doubling array. 0 or -1. */
static int array_grow(void *array, uint32_t count, uint32_t *cap, size_t size)
{
    if (count < *cap) return 0;
    if (*cap > UINT32_MAX / 2) return -1;
    uint32_t want = *cap ? *cap * 2 : 2;
    void *old, *more;
    memcpy(&old, array, sizeof old);
    more = realloc(old, want * size);
    if (!more) return -1;
    memcpy(array, &more, sizeof more);
    *cap = want;
    return 0;
}

/* Give back memory after a mass removal; failure leaves the array as it is. */
static void array_shrink(void *array, uint32_t count, uint32_t *cap, size_t size)
{
    if (*cap <= 16 || count > *cap / 4) return;
    void *old, *less;
    memcpy(&old, array, sizeof old);
    less = realloc(old, *cap / 2 * size);
    if (!less) return;
    memcpy(array, &less, sizeof less);
    *cap /= 2;
}

/* ---- queue groups by name ---- */

static uint32_t name_hash(const struct sublist *l, const struct node_interest *it, const char *q, size_t n)
{
    return (uint32_t)(hash64(q, n, l->trie.seed ^ (uint64_t)(uintptr_t)it) >> 32);
}

static struct qgroup *group_find(const struct sublist *l, const struct node_interest *it, const char *q, size_t n)
{
    if (!it->ngroups) return NULL;
    uint32_t hash = name_hash(l, it, q, n), mask = (1u << l->names_bits) - 1;
    for (uint32_t i = hash >> (32 - l->names_bits); l->names[i]; i = (i + 1) & mask) {
        struct qgroup *g = l->names[i];
        if (g->hash == hash && g->at == it && g->name_len == n && memcmp(g->name, q, n) == 0) return g;
    }
    return NULL;
}

static void names_put(struct sublist *l, struct qgroup *g)
{
    uint32_t i = g->hash >> (32 - l->names_bits), mask = (1u << l->names_bits) - 1;
    while (l->names[i]) i = (i + 1) & mask;
    l->names[i] = g;
}

static int names_resize(struct sublist *l, uint32_t bits)
{
    struct qgroup **old = l->names, **fresh = calloc((size_t)1 << bits, sizeof *fresh);
    if (!fresh) return -1;
    uint32_t before = old ? 1u << l->names_bits : 0;
    l->names = fresh;
    l->names_bits = bits;
    for (uint32_t i = 0; i < before; i++)
        if (old[i]) names_put(l, old[i]);
    free(old);
    return 0;
}

static void names_delete(struct sublist *l, struct qgroup *g)
{
    uint32_t mask = (1u << l->names_bits) - 1, hole = g->hash >> (32 - l->names_bits);
    while (l->names[hole] != g) hole = (hole + 1) & mask;
    for (uint32_t i = (hole + 1) & mask; l->names[i]; i = (i + 1) & mask) {
        uint32_t home = l->names[i]->hash >> (32 - l->names_bits);
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        l->names[hole] = l->names[i];
        hole = i;
    }
    l->names[hole] = NULL;
    l->nnames--;
    if (l->names_bits > 8 && l->nnames < (1u << l->names_bits) / 16) names_resize(l, l->names_bits - 2);
}

static struct qgroup *group_get(struct sublist *l, struct node_interest *it, const char *q, size_t n)
{
    struct qgroup *g = group_find(l, it, q, n);
    if (g) return g;
    if (!l->names || l->nnames >= (1u << l->names_bits) / 2) {
        uint32_t bits = l->names ? l->names_bits + 1 : 3;
        if (bits > 30 || names_resize(l, bits) != 0) return NULL;
    }
    if (array_grow(&it->groups, it->ngroups, &it->cap_groups, sizeof *it->groups) != 0) return NULL;
    g = calloc(1, sizeof *g + n);
    if (!g) return NULL;
    g->at = it;
    g->hash = name_hash(l, it, q, n);
    g->name_len = (uint32_t)n;
    g->claim.is_group = true;
    memcpy(g->name, q, n);
    g->slot = it->ngroups;
    it->groups[it->ngroups++] = g;
    names_put(l, g);
    l->nnames++;
    return g;
}

/* ---- interests: made on first use, freed with the last ---- */

static struct node_interest *interest_get(struct sublist *l, const char *s, size_t n)
{
    struct trie_ref ref;
    if (trie_add(&l->trie, s, n, &ref) != 0) return NULL;
    void *value = trie_get(&l->trie, ref);
    if (value) return value_interest(value);
    struct node_interest *it = interest_new(l);
    if (!it) {
        trie_prune(&l->trie, ref.node);
        return NULL;
    }
    it->ref = ref;
    it->wild = subject_has_wildcard(s, n);
    trie_set(&l->trie, ref, it);
    return it;
}

static bool claim_idle(const struct claim *c) { return !c->dirty && !c->announced; }

static void group_release(struct sublist *l, struct qgroup *g)
{
    if (g->nmembers || g->nremotes || !claim_idle(&g->claim)) return;
    struct node_interest *it = g->at;
    names_delete(l, g);
    it->groups[g->slot] = it->groups[--it->ngroups];
    it->groups[g->slot]->slot = g->slot;
    array_shrink(&it->groups, it->ngroups, &it->cap_groups, sizeof *it->groups);
    free(g->members);
    free(g->remotes);
    free(g);
}

/* Let matches see an interest in its shortest form. */
static void interest_show(struct sublist *l, struct node_interest *it)
{
    bool single = it->nplain == 1 && !it->ngroups && !it->peers;
    void *value = single ? (void *)((uintptr_t)it->plain[0] + 1) : it;
    if (trie_get(&l->trie, it->ref) != value) trie_set(&l->trie, it->ref, value);
}

/* After any change to an interest: free it if it became empty. */
static void interest_settle(struct sublist *l, struct node_interest *it)
{
    if (it->nplain || it->peers || it->ngroups || !claim_idle(&it->claim)) {
        interest_show(l, it);
        return;
    }
    struct trie_ref ref = it->ref;
    trie_set(&l->trie, ref, NULL);
    interest_free(l, it);
    trie_prune(&l->trie, ref.node);
}

/* ---- announcements ---- */

static struct node_interest *claim_interest(struct claim *c)
{
    return (struct node_interest *)(void *)((char *)c - offsetof(struct node_interest, claim));
}
static struct qgroup *claim_group(struct claim *c)
{
    return (struct qgroup *)(void *)((char *)c - offsetof(struct qgroup, claim));
}
static uint32_t claim_weight(struct claim *c)
{
    if (c->is_group) {
        const struct qgroup *g = claim_group(c);
        return g->nmembers && g->nmembers == g->nshadows ? g->nmembers | SHADOWS_ONLY : g->nmembers;
    }
    const struct node_interest *it = claim_interest(c);
    uint32_t told = it->nplain - it->nhidden;
    return told && told == it->nshadows ? 1 | SHADOWS_ONLY : told != 0;
}

static void claim_check(struct sublist *l, struct claim *c)
{
    if (!l->track || c->dirty || claim_weight(c) == c->announced) return;
    c->dirty = true;
    c->next = NULL;
    *l->dirty_end = c;
    l->dirty_end = &c->next;
}

static void claim_release(struct sublist *l, struct claim *c)
{
    struct node_interest *it = c->is_group ? claim_group(c)->at : claim_interest(c);
    if (c->is_group) group_release(l, claim_group(c));
    interest_settle(l, it);
}

static void claim_tell(struct sublist *l, struct claim *c, uint32_t weight, uint32_t was, interest_fn fn, void *arg)
{
    struct node_interest *it = c->is_group ? claim_group(c)->at : claim_interest(c);
    size_t len;
    const char *text = trie_text(&l->trie, it->ref, &len);
    if (c->is_group)
        fn(arg, text, len, claim_group(c)->name, claim_group(c)->name_len, weight, was);
    else
        fn(arg, text, len, "", 0, weight, was);
}

uint32_t sublist_flush_interest(struct sublist *l, uint64_t seq, interest_fn fn, void *arg)
{
    uint32_t told = 0;
    struct claim *c = l->dirty;
    l->dirty = NULL;
    l->dirty_end = &l->dirty;
    while (c) {
        struct claim *next = c->next;
        uint32_t weight = claim_weight(c), was = c->announced;
        c->dirty = false;
        if (weight != was) {
            if (!was || (was & SHADOWS_ONLY && !(weight & SHADOWS_ONLY))) c->seq = seq;
            c->announced = weight;
            claim_tell(l, c, weight, was, fn, arg);
            told++;
        }
        claim_release(l, c);
        c = next;
    }
    return told;
}

bool sublist_dirty(const struct sublist *l) { return l->dirty != NULL; }

/* Calls `each` for every claim; the trie must not change meanwhile. */
static void claims_each(struct sublist *l, void (*each)(struct sublist *, struct claim *, void *), void *arg)
{
    for (uint32_t i = 0; i < l->trie.nnodes; i++) {
        struct trie_node *node = &l->trie.nodes[i];
        if (node->is_free) continue;
        for (int gt = 0; gt < 2; gt++) {
            struct node_interest *it = value_interest(gt ? node->gt : node->own);
            if (!it) continue;
            each(l, &it->claim, arg);
            for (uint32_t g = 0; g < it->ngroups; g++) each(l, &it->groups[g]->claim, arg);
        }
    }
}

struct listener {
    interest_fn fn;
    void *arg;
};

static void tell_announced(struct sublist *l, struct claim *c, void *arg)
{
    struct listener *to = arg;
    if (c->announced) claim_tell(l, c, c->announced, c->announced, to->fn, to->arg);
}

void sublist_each_interest(struct sublist *l, interest_fn fn, void *arg)
{
    struct listener to = {fn, arg};
    claims_each(l, tell_announced, &to);
}

static void check_one(struct sublist *l, struct claim *c, void *arg)
{
    (void)arg;
    claim_check(l, c);
}

void sublist_track(struct sublist *l, bool on)
{
    if (on == l->track) return;
    l->track = on;
    if (on) {
        claims_each(l, check_one, NULL);
        return;
    }
    /* What was announced stays known; it is compared again when tracking resumes. */
    struct claim *c = l->dirty;
    l->dirty = NULL;
    l->dirty_end = &l->dirty;
    while (c) {
        struct claim *next = c->next;
        c->dirty = false;
        claim_release(l, c);
        c = next;
    }
}

uint64_t sublist_announced(const struct sublist *l, const struct sub *sub, uint64_t next)
{
    if (!l->track || !sub->at) return 0; /* nobody is told, so there is nothing to wait for */
    const struct claim *c = sub->group ? &sub->group->claim : &sub->at->claim;
    bool known = c->announced && (sub->special & SUB_SHADOW || !(c->announced & SHADOWS_ONLY));
    return known ? c->seq : next;
}

/* ---- local subscriptions ---- */

static int plain_add(struct node_interest *it, struct sub *sub)
{
    if (it->nplain == it->cap_plain) {
        if (it->plain == &it->one) {
            struct sub **many = malloc(4 * sizeof *many);
            if (!many) return -1;
            many[0] = it->one;
            it->plain = many;
            it->cap_plain = 4;
        } else if (array_grow(&it->plain, it->nplain, &it->cap_plain, sizeof *it->plain) != 0) {
            return -1;
        }
    }
    sub->slot = it->nplain;
    it->plain[it->nplain++] = sub;
    return 0;
}

int sublist_insert(struct sublist *l, struct sub *sub)
{
    struct node_interest *it = interest_get(l, sub->subject, sub->subject_len);
    if (!it) return -1;
    struct qgroup *g = NULL;
    if (sub->queue_len) {
        g = group_get(l, it, sub->subject + sub->subject_len, sub->queue_len);
        if (!g || array_grow(&g->members, g->nmembers, &g->cap_members, sizeof *g->members) != 0) {
            if (g) group_release(l, g);
            interest_settle(l, it);
            return -1;
        }
        sub->slot = g->nmembers;
        g->members[g->nmembers++] = sub;
        if (sub->special & SUB_SHADOW) g->nshadows++;
    } else if (it->nhidden == UINT16_MAX || plain_add(it, sub) != 0) {
        interest_settle(l, it);
        return -1;
    } else {
        if (sub->special & SUB_HIDDEN) it->nhidden++;
        if (sub->special & SUB_SHADOW) it->nshadows++;
    }
    sub->at = it;
    sub->group = g;
    l->stats.subs++;
    l->stats.inserts++;
    interest_show(l, it);
    claim_check(l, g ? &g->claim : &it->claim);
    match_changed(l, sub->subject, sub->subject_len, it->wild);
    return 0;
}

void sublist_remove(struct sublist *l, struct sub *sub)
{
    struct node_interest *it = sub->at;
    struct qgroup *g = sub->group;
    if (!it) return;
    l->stats.subs--;
    l->stats.removes++;
    match_changed(l, sub->subject, sub->subject_len, it->wild);
    if (g) {
        g->members[sub->slot] = g->members[--g->nmembers];
        g->members[sub->slot]->slot = sub->slot;
        if (sub->special & SUB_SHADOW) g->nshadows--;
        array_shrink(&g->members, g->nmembers, &g->cap_members, sizeof *g->members);
        claim_check(l, &g->claim);
        group_release(l, g);
    } else {
        if (sub->special & SUB_HIDDEN) it->nhidden--;
        if (sub->special & SUB_SHADOW) it->nshadows--;
        it->plain[sub->slot] = it->plain[--it->nplain];
        it->plain[sub->slot]->slot = sub->slot;
        if (it->plain != &it->one) array_shrink(&it->plain, it->nplain, &it->cap_plain, sizeof *it->plain);
        claim_check(l, &it->claim);
    }
    sub->at = NULL;
    sub->group = NULL;
    interest_settle(l, it);
}

/* ---- what peers announced ---- */

static int64_t group_set_remote(struct qgroup *g, uint32_t peer, uint32_t weight)
{
    for (uint32_t i = 0; i < g->nremotes; i++) {
        if (g->remotes[i].peer != peer) continue;
        uint32_t was = g->remotes[i].weight | (g->remotes[i].shadows ? SHADOWS_ONLY : 0);
        if (weight)
            g->remotes[i].weight = weight & ~SHADOWS_ONLY, g->remotes[i].shadows = weight & SHADOWS_ONLY;
        else
            g->remotes[i] = g->remotes[--g->nremotes];
        return was;
    }
    if (!weight) return 0;
    if (array_grow(&g->remotes, g->nremotes, &g->cap_remotes, sizeof *g->remotes) != 0) return -1;
    g->remotes[g->nremotes++] = (struct remote){(uint16_t)peer, weight & SHADOWS_ONLY, weight & ~SHADOWS_ONLY};
    return 0;
}

int64_t sublist_set_remote(struct sublist *l, uint32_t peer, const char *subject, size_t n, const char *queue,
                           size_t nq, uint32_t weight)
{
    if (peer >= SUBLIST_MAX_PEERS) return -1;
    struct node_interest *it;
    if (weight == SHADOWS_ONLY) weight = 0;
    if (weight) {
        it = interest_get(l, subject, n);
        if (!it) return -1;
    } else { /* a withdrawal needs no memory */
        struct trie_ref ref;
        if (!trie_find(&l->trie, subject, n, &ref) || !(it = value_interest(trie_get(&l->trie, ref)))) return 0;
    }
    int64_t result = 0;
    if (nq) {
        struct qgroup *g = weight ? group_get(l, it, queue, nq) : group_find(l, it, queue, nq);
        if (g) {
            result = group_set_remote(g, peer, weight);
            group_release(l, g);
        } else if (weight) {
            result = -1;
        }
    } else {
        uint64_t bit = 1ULL << peer;
        result = !(it->peers & bit) ? 0 : it->askable & bit ? 1 : 1 | SHADOWS_ONLY;
        it->peers = weight ? it->peers | bit : it->peers & ~bit;
        it->askable = weight && !(weight & SHADOWS_ONLY) ? it->askable | bit : it->askable & ~bit;
    }
    match_changed(l, subject, n, it->wild);
    interest_settle(l, it);
    return result;
}

void sublist_drop_peer(struct sublist *l, uint32_t peer)
{
    if (peer >= SUBLIST_MAX_PEERS) return;
    for (uint32_t i = 0; i < l->trie.nnodes; i++) {
        for (int gt = 0; gt < 2; gt++) {
            if (l->trie.nodes[i].is_free) break;
            struct node_interest *it = value_interest(gt ? l->trie.nodes[i].gt : l->trie.nodes[i].own);
            if (!it) continue;
            bool had = it->peers >> peer & 1;
            it->peers &= ~(1ULL << peer);
            it->askable &= ~(1ULL << peer);
            for (uint32_t g = it->ngroups; g-- > 0;) {
                uint32_t before = it->groups[g]->nremotes;
                group_set_remote(it->groups[g], peer, 0);
                had |= it->groups[g]->nremotes != before;
                group_release(l, it->groups[g]);
            }
            if (had) {
                size_t len;
                const char *text = trie_text(&l->trie, it->ref, &len);
                match_changed(l, text, len, it->wild);
            }
            interest_settle(l, it);
        }
    }
}

void sublist_stats(const struct sublist *l, struct sublist_stats *out)
{
    *out = l->stats;
    out->cache_entries = l->nslots;
    out->nodes = l->trie.live;
}
