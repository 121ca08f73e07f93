/* match.c: what a subject meets, and the cache of such results.
 *
 * Which results does a change outdate? A literal pattern outdates one subject, which is looked up. A wildcard pattern is noted in a
 * ring of the last RECENT ones; an entry remembers how many wildcard changes it has seen and, when next used, is checked against
 * those since. So a subscriber that comes and goes costs the subjects of others nothing but one comparison each.
 *
 * Where only one pattern contributes, a result points into the interest's own arrays instead of copying them. That is safe because
 * those arrays change only together with results of every subject that the pattern matches.
 *
 * A subject is given an entry at its second miss. One-off subjects (inboxes, scans over many subjects) are answered from the
 * scratch entry and so neither evict anything nor allocate.
 */
#include "subject.h"
#include "sublist_private.h"
#include <stdlib.h>
#include <string.h>

void match_init(struct sublist *l, uint32_t cache_entries)
{
    l->scratch.scratch = true;
    l->max_entries = cache_entries < 1u << 28 ? cache_entries : 1u << 28;
}

void match_clear(struct sublist *l)
{
    for (uint32_t i = 0; i < l->nentries; i++) {
        free(l->entries[i]->mem);
        free(l->entries[i]);
    }
    free(l->entries);
    free(l->slots);
    free(l->seen);
    free(l->recent);
    free(l->merge);
    free(l->scratch.mem);
}

/* ---- the table of entries by subject ---- */

static uint64_t subject_hash(const struct sublist *l, const char *s, size_t n) { return hash64(s, n, l->trie.seed); }
static uint32_t hash_tag(uint64_t hash) { return (uint32_t)(hash >> 32); }

/* The position of a subject's entry, or UINT32_MAX. */
static uint32_t slot_find(const struct sublist *l, uint64_t hash, const char *s, size_t n)
{
    if (!l->nslots) return UINT32_MAX;
    uint32_t tag = hash_tag(hash), mask = (1u << l->slots_bits) - 1;
    for (uint32_t i = tag >> (32 - l->slots_bits); l->slots[i].entry; i = (i + 1) & mask) {
        if (l->slots[i].tag != tag) continue;
        const struct entry *e = l->entries[l->slots[i].entry - 1];
        if (e->hash == hash && e->m.subject_len == n && memcmp(e->m.subject, s, n) == 0) return i;
    }
    return UINT32_MAX;
}

static void slot_put(struct sublist *l, struct slot slot)
{
    uint32_t i = slot.tag >> (32 - l->slots_bits), mask = (1u << l->slots_bits) - 1;
    while (l->slots[i].entry) i = (i + 1) & mask;
    l->slots[i] = slot;
}

static int slots_reserve(struct sublist *l)
{
    if (l->slots && l->nslots < (1u << l->slots_bits) / 2) return 0;
    uint32_t bits = l->slots ? l->slots_bits + 1 : 4, before = l->slots ? 1u << l->slots_bits : 0;
    struct slot *old = l->slots, *fresh = calloc((size_t)1 << bits, sizeof *fresh);
    if (!fresh) return -1;
    l->slots = fresh;
    l->slots_bits = bits;
    for (uint32_t i = 0; i < before; i++)
        if (old[i].entry) slot_put(l, old[i]);
    free(old);
    return 0;
}

/* Take the entry with this number out of the table, if it is in. */
static void slot_drop(struct sublist *l, uint32_t entry)
{
    struct entry *e = l->entries[entry];
    if (!e->m.subject) return;
    uint32_t mask = (1u << l->slots_bits) - 1, hole = hash_tag(e->hash) >> (32 - l->slots_bits);
    while (l->slots[hole].entry != entry + 1) hole = (hole + 1) & mask;
    for (uint32_t i = (hole + 1) & mask; l->slots[i].entry; i = (i + 1) & mask) {
        uint32_t home = l->slots[i].tag >> (32 - l->slots_bits);
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        l->slots[hole] = l->slots[i];
        hole = i;
    }
    l->slots[hole].entry = 0;
    l->nslots--;
    e->m.subject = NULL;
    e->m.serial = ++l->serial; /* whoever kept it must ask again */
    e->stale = true;
}

/* ---- changes ---- */

void match_changed(struct sublist *l, const char *pattern, size_t n, bool wild)
{
    l->generation++;
    if (!l->nslots) return; /* no result is kept that could be outdated */
    if (wild) {
        if (!l->recent && !(l->recent = malloc(RECENT * sizeof *l->recent))) {
            l->nrecent += RECENT + 1; /* as if it were too long ago to tell: all results are outdated */
            return;
        }
        struct change *c = &l->recent[l->nrecent++ % RECENT];
        c->len = n <= RECENT_TEXT ? (uint32_t)n : UINT32_MAX;
        if (n <= RECENT_TEXT) memcpy(c->text, pattern, n);
        return;
    }
    uint32_t i = slot_find(l, subject_hash(l, pattern, n), pattern, n);
    if (i != UINT32_MAX) l->entries[l->slots[i].entry - 1]->stale = true;
}

static bool entry_current(struct sublist *l, struct entry *e)
{
    if (e->scratch) return !e->stale && e->as_of == l->generation;
    if (e->stale) return false;
    if (e->as_of == l->nrecent) return true;
    bool current = l->nrecent - e->as_of <= RECENT;
    for (uint64_t i = e->as_of; current && i < l->nrecent; i++) {
        const struct change *c = &l->recent[i % RECENT];
        current = c->len != UINT32_MAX && !subject_matches(c->text, c->len, e->m.subject, e->m.subject_len);
    }
    e->as_of = l->nrecent;
    e->stale = !current;
    return current;
}

bool sublist_match_current(struct sublist *l, const struct match *m, uint32_t serial)
{
    struct entry *e = (struct entry *)(uintptr_t)m;
    if (m->serial != serial || !entry_current(l, e)) return false;
    e->used = true;
    return true;
}

const uint64_t *sublist_generation(const struct sublist *l) { return &l->generation; }

/* ---- computing a result from trie.hits ---- */

struct sizes { /* what a result needs beyond the interests' own arrays */
    uint32_t plain, groups, members, remotes;
};

static bool group_counts(const struct qgroup *g) { return g->nmembers || g->nremotes; }

/* Upper bounds: merging can only make them smaller. */
static struct sizes result_sizes(const struct trie *t)
{
    struct sizes z = {0};
    uint32_t sources = 0;
    for (uint32_t i = 0; i < t->nhits; i++) {
        if (value_is_sub(t->hits[i])) {
            z.plain++;
            sources += 2; /* there is no array to point into */
            continue;
        }
        const struct node_interest *it = t->hits[i];
        z.plain += it->nplain;
        sources += it->nplain != 0;
        z.groups += it->ngroups;
    }
    if (sources < 2) z.plain = 0;
    if (z.groups < 2) return z;
    for (uint32_t i = 0; i < t->nhits; i++) {
        const struct node_interest *it = t->hits[i];
        for (uint32_t g = 0; !value_is_sub(it) && g < it->ngroups; g++) {
            z.members += it->groups[g]->nmembers;
            z.remotes += it->groups[g]->nremotes;
        }
    }
    return z;
}

static size_t sizes_bytes(struct sizes z, size_t subject_len)
{
    return ((size_t)z.plain + z.members) * sizeof(struct sub *) + z.groups * sizeof(struct match_group) +
           z.remotes * sizeof(struct remote) + subject_len + 1;
}

static uint32_t merge_slot(const struct sublist *l, const struct match *m, const struct qgroup *g)
{
    uint32_t i = (uint32_t)hash64(g->name, g->name_len, l->trie.seed) & (l->merge_cap - 1);
    for (; l->merge[i]; i = (i + 1) & (l->merge_cap - 1)) {
        const struct match_group *have = &m->groups[l->merge[i] - 1];
        if (have->name_len == g->name_len && memcmp(have->name, g->name, g->name_len) == 0) break;
    }
    return i;
}

/* Room for the table that finds groups by name; only many groups need it. */
static int merge_reserve(struct sublist *l, uint32_t groups)
{
    uint32_t want = 16;
    while (want < groups * 2) want *= 2;
    if (l->merge_cap < want || l->merge_cap > want * 64) {
        uint32_t *more = realloc(l->merge, want * sizeof *more);
        if (!more) return -1;
        l->merge = more;
        l->merge_cap = want;
    }
    memset(l->merge, 0, l->merge_cap * sizeof *l->merge);
    return 0;
}

/* The result's group of this name, added if it is new. */
static struct match_group *merge_group(struct sublist *l, struct match *m, const struct qgroup *g, bool table)
{
    uint32_t found = m->ngroups, slot = 0;
    if (table) {
        slot = merge_slot(l, m, g);
        if (l->merge[slot]) found = l->merge[slot] - 1;
    } else {
        for (uint32_t i = 0; i < m->ngroups; i++)
            if (m->groups[i].name_len == g->name_len && memcmp(m->groups[i].name, g->name, g->name_len) == 0) found = i;
    }
    struct match_group *mg = &m->groups[found];
    if (found == m->ngroups) {
        if (table) l->merge[slot] = found + 1;
        m->ngroups++;
        *mg = (struct match_group){.name = g->name, .name_len = g->name_len};
    }
    return mg;
}

static void merge_remote(struct match_group *mg, struct remote r)
{
    mg->remote_weight += r.weight;
    for (uint32_t i = 0; i < mg->nremote; i++) {
        if (mg->remote[i].peer != r.peer) continue;
        mg->remote[i].weight += r.weight;
        mg->remote[i].shadows &= r.shadows;
        return;
    }
    mg->remote[mg->nremote++] = r;
}

/* One group in all: it is shown as it is. */
static void show_group(struct match *m, const struct qgroup *g)
{
    m->groups[m->ngroups++] =
        (struct match_group){g->name, g->name_len, g->nmembers, g->nremotes, 0, g->members, g->remotes};
    for (uint32_t i = 0; i < g->nremotes; i++) m->groups[0].remote_weight += g->remotes[i].weight;
}

static void fill_groups(struct sublist *l, struct match *m, struct sub **members, struct remote *remotes, bool table)
{
    const struct trie *t = &l->trie;
    for (uint32_t i = 0; i < t->nhits; i++) { /* first the sizes, so that each group's members lie together */
        const struct node_interest *it = t->hits[i];
        for (uint32_t g = 0; !value_is_sub(it) && g < it->ngroups; g++) {
            if (!group_counts(it->groups[g])) continue;
            struct match_group *mg = merge_group(l, m, it->groups[g], table);
            mg->nlocal += it->groups[g]->nmembers;
            mg->nremote += it->groups[g]->nremotes;
        }
    }
    for (uint32_t i = 0; i < m->ngroups; i++) {
        m->groups[i].local = members;
        m->groups[i].remote = remotes;
        members += m->groups[i].nlocal;
        remotes += m->groups[i].nremote;
        m->groups[i].nlocal = m->groups[i].nremote = 0;
    }
    for (uint32_t i = 0; i < t->nhits; i++) {
        const struct node_interest *it = t->hits[i];
        for (uint32_t j = 0; !value_is_sub(it) && j < it->ngroups; j++) {
            const struct qgroup *g = it->groups[j];
            if (!group_counts(g)) continue;
            struct match_group *mg = merge_group(l, m, g, table);
            if (g->nmembers) memcpy(mg->local + mg->nlocal, g->members, g->nmembers * sizeof *g->members);
            mg->nlocal += g->nmembers;
            for (uint32_t r = 0; r < g->nremotes; r++) merge_remote(mg, g->remotes[r]);
        }
    }
}

/* Write what the walk found into an entry whose memory suffices. */
static void fill(struct sublist *l, struct entry *e, struct sizes z, const char *s, size_t n)
{
    const struct trie *t = &l->trie;
    struct match *m = &e->m;
    struct match_group *groups = (struct match_group *)(void *)e->mem;
    struct sub **subs = (struct sub **)(void *)(groups + z.groups);
    struct remote *remotes = (struct remote *)(void *)(subs + z.plain + z.members);
    char *subject = (char *)(remotes + z.remotes);
    memcpy(subject, s, n);
    subject[n] = 0;
    *m = (struct match){
        .serial = ++l->serial, .subject = subject, .subject_len = (uint32_t)n, .plain = subs, .groups = groups};
    for (uint32_t i = 0; i < t->nhits; i++) {
        if (value_is_sub(t->hits[i])) {
            subs[m->nplain++] = value_sub(t->hits[i]);
            continue;
        }
        const struct node_interest *it = t->hits[i];
        if (it->peers) m->peers |= it->peers, m->askable |= it->askable;
        if (!it->nplain) continue;
        if (z.plain)
            memcpy(subs + m->nplain, it->plain, it->nplain * sizeof *subs);
        else
            m->plain = it->plain;
        m->nplain += it->nplain;
        if (z.groups == 0) __builtin_prefetch(it->plain[0]);
    }
    if (z.groups == 1) {
        for (uint32_t i = 0; i < t->nhits; i++) {
            const struct node_interest *it = t->hits[i];
            if (!value_is_sub(it) && it->ngroups && group_counts(it->groups[0])) show_group(m, it->groups[0]);
        }
    } else if (z.groups) {
        fill_groups(l, m, subs + z.plain, remotes, z.groups > 8);
    }
    e->as_of = e->scratch ? l->generation : l->nrecent;
    e->stale = false;
}

static int entry_reserve(struct sublist *l, struct entry *e, size_t need)
{
    if (e->cap_mem >= need && (e->cap_mem <= 65536 || need > e->cap_mem / 8)) return 0;
    size_t want = need + need / 4 + 64;
    char *mem = malloc(want);
    if (!mem) return -1;
    if (!e->scratch) l->cache_bytes += want - e->cap_mem;
    free(e->mem);
    e->mem = mem;
    e->cap_mem = want;
    return 0;
}

/* ---- the cache's policy ---- */

static uint16_t *seen_place(const struct sublist *l, uint64_t hash)
{
    return &l->seen[(uint32_t)hash & ((1u << l->seen_bits) - 1)];
}

/* More places for the tags, of which the account gets as many as it has misses: most accounts know a handful of subjects. Nothing is
 * forgotten: a tag's new place is one of four, so it is put into all of them. */
static void seen_grow(struct sublist *l)
{
    uint32_t bits = l->seen ? l->seen_bits + 2 : SEEN_FIRST, before = l->seen ? 1u << l->seen_bits : 0;
    l->seen_misses = 0;
    if (bits > SEEN_FIRST && 1u << l->seen_bits >= (uint64_t)l->max_entries * 2) return;
    uint16_t *more = calloc((size_t)1 << bits, sizeof *more);
    if (!more) return;
    for (uint32_t i = 0; before && i < 1u << bits; i += before) memcpy(more + i, l->seen, before * sizeof *more);
    free(l->seen);
    l->seen = more, l->seen_bits = bits;
}

/* Was this subject missed lately? Remembers it. */
static bool seen_before(struct sublist *l, uint64_t hash)
{
    if (!l->seen || ++l->seen_misses > 1u << l->seen_bits >> 2) seen_grow(l); /* before many share a place */
    if (!l->seen) return true;
    uint16_t *place = seen_place(l, hash), tag = (uint16_t)(hash >> 48 | 1);
    bool before = *place == tag;
    *place = tag;
    return before;
}

/* The entry to give up: the first that was not used since the hand last passed it. */
static uint32_t clock_victim(struct sublist *l)
{
    for (;;) {
        if (l->hand >= l->nentries) l->hand = 0;
        struct entry *e = l->entries[l->hand++];
        if (!e->used) return l->hand - 1;
        e->used = false;
    }
}

/* An entry for a new subject, not in the table; UINT32_MAX: out of memory. */
static uint32_t entry_new(struct sublist *l)
{
    if (slots_reserve(l) != 0) return UINT32_MAX;
    if (l->nentries < l->max_entries) {
        if (l->nentries == l->cap_entries) {
            uint32_t cap = l->cap_entries ? l->cap_entries * 2 : 16;
            struct entry **more = realloc(l->entries, cap * sizeof *more);
            if (!more) return UINT32_MAX;
            l->entries = more;
            l->cap_entries = cap;
        }
        struct entry *e = calloc(1, sizeof *e);
        if (!e) return UINT32_MAX;
        l->entries[l->nentries] = e;
        return l->nentries++;
    }
    uint32_t i = clock_victim(l);
    slot_drop(l, i);
    return i;
}

/* Forget entries until the copies of all fit the budget again. */
static void cache_trim(struct sublist *l, const struct entry *keep)
{
    for (uint32_t left = l->nentries * 2; left && l->cache_bytes > CACHE_BYTES; left--) {
        uint32_t i = clock_victim(l);
        struct entry *e = l->entries[i];
        if (e == keep || !e->cap_mem) continue;
        slot_drop(l, i);
        free(e->mem);
        e->mem = NULL;
        l->cache_bytes -= e->cap_mem;
        e->cap_mem = 0;
    }
}

/* A cached entry for what the walk found; NULL: not worth it, or no memory. */
static struct entry *entry_admit(struct sublist *l, uint64_t hash, struct sizes z, size_t need, const char *s, size_t n)
{
    if (need > CACHE_ENTRY_BYTES || !seen_before(l, hash)) return NULL;
    uint32_t i = entry_new(l);
    if (i == UINT32_MAX) return NULL;
    struct entry *e = l->entries[i];
    if (entry_reserve(l, e, need) != 0) return NULL;
    e->hash = hash;
    e->used = false;
    fill(l, e, z, s, n);
    slot_put(l, (struct slot){hash_tag(hash), i + 1});
    l->nslots++;
    cache_trim(l, e);
    return e;
}

const struct match *sublist_match(struct sublist *l, const char *subject, size_t n)
{
    l->stats.matches++;
    uint64_t hash = 0;
    struct entry *e = NULL;
    if (l->max_entries) {
        hash = subject_hash(l, subject, n);
        if (l->seen) __builtin_prefetch(seen_place(l, hash)); /* wanted if this is a miss */
        uint32_t i = slot_find(l, hash, subject, n);
        if (i != UINT32_MAX) {
            e = l->entries[l->slots[i].entry - 1];
            e->used = true;
            if (entry_current(l, e)) {
                l->stats.cache_hits++;
                return &e->m;
            }
        }
    }
    if (n > UINT32_MAX || trie_walk(&l->trie, subject, n) != 0) return NULL;
    struct sizes z = result_sizes(&l->trie);
    if (z.groups > 8 && merge_reserve(l, z.groups) != 0) return NULL;
    size_t need = sizes_bytes(z, n);
    if (e) {
        if (need <= CACHE_ENTRY_BYTES && entry_reserve(l, e, need) == 0) {
            fill(l, e, z, subject, n);
            cache_trim(l, e);
            return &e->m;
        } /* else it stays stale, and the scratch entry answers */
    } else if (l->max_entries && (e = entry_admit(l, hash, z, need, subject, n))) {
        return &e->m;
    }
    if (entry_reserve(l, &l->scratch, need) != 0) {
        l->scratch.stale = true;
        return NULL;
    }
    fill(l, &l->scratch, z, subject, n);
    return &l->scratch.m;
}

void sublist_fanout(const struct sublist *l, uint64_t *max, uint64_t *sum)
{
    *max = *sum = 0;
    for (uint32_t i = 0; i < l->nentries; i++) {
        const struct match *m = &l->entries[i]->m;
        if (!m->subject) continue;
        uint64_t n = (uint64_t)m->nplain + m->ngroups;
        *sum += n;
        if (n > *max) *max = n;
    }
}
