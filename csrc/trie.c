/* trie.c: see trie.h for the layout and why it is so. */
#include "trie.h"
#include "subject.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#define MAX_PATTERN 65535
#define HUGE_PAGE (2u << 20)

void *lines_alloc(size_t size)
{
    size_t align = size >= HUGE_PAGE ? HUGE_PAGE : 64;
    void *p = aligned_alloc(align, (size + align - 1) & ~(align - 1));
    if (p && align == HUGE_PAGE) madvise(p, size, MADV_HUGEPAGE);
    return p;
}

int trie_init(struct trie *t)
{
    memset(t, 0, sizeof *t);
    /* A secret seed: clients choose the tokens, and must not be able to choose collisions. */
    if (getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) != sizeof t->seed)
        t->seed = (uint64_t)(uintptr_t)t * 0x9e3779b97f4a7c15ULL;
    t->cap_nodes = 8;
    t->nnodes = 1;
    t->edge_bits = 4;
    t->nodes = lines_alloc(t->cap_nodes * sizeof *t->nodes);
    t->edges = calloc((size_t)1 << t->edge_bits, sizeof *t->edges);
    if (!t->nodes || !t->edges) {
        free(t->nodes);
        free(t->edges);
        return -1;
    }
    memset(&t->nodes[0], 0, sizeof t->nodes[0]);
    return 0;
}

static const char *node_token(const struct trie_node *node)
{
    if (node->len <= TRIE_INLINE) return node->token;
    const char *far;
    memcpy(&far, node->token, sizeof far);
    return far;
}

static void token_free(struct trie_node *node)
{
    if (node->len <= TRIE_INLINE) return;
    char *far;
    memcpy(&far, node->token, sizeof far);
    free(far);
}

void trie_clear(struct trie *t)
{
    for (uint32_t i = 1; i < t->nnodes; i++)
        if (!t->nodes[i].is_free) token_free(&t->nodes[i]);
    free(t->nodes);
    free(t->edges);
    free(t->toks);
    free(t->stack);
    free(t->hits);
    free(t->text);
}

static inline uint32_t token_hash(const struct trie *t, const char *s, size_t n)
{
    return (uint32_t)(hash64(s, n, t->seed) >> 32);
}

static inline uint32_t edge_tag(uint32_t parent, uint32_t hash)
{
    return (uint32_t)((((uint64_t)parent << 32 | hash) * 0x9e3779b97f4a7c15ULL) >> 32);
}

static inline uint32_t edge_home(const struct trie *t, uint32_t tag) { return tag >> (32 - t->edge_bits); }

/* The position of the edge to a literal child, or UINT32_MAX. */
static uint32_t edge_find(const struct trie *t, uint32_t parent, uint32_t hash, const char *s, size_t n)
{
    uint32_t tag = edge_tag(parent, hash), mask = (1u << t->edge_bits) - 1;
    for (uint32_t i = edge_home(t, tag); t->edges[i].child; i = (i + 1) & mask) {
        if (t->edges[i].tag != tag) continue;
        const struct trie_node *node = &t->nodes[t->edges[i].child];
        if (node->parent == parent && node->len == n && memcmp(node_token(node), s, n) == 0) return i;
    }
    return UINT32_MAX;
}

static void edge_put(const struct trie *t, struct trie_edge edge)
{
    uint32_t i = edge_home(t, edge.tag), mask = (1u << t->edge_bits) - 1;
    while (t->edges[i].child) i = (i + 1) & mask;
    t->edges[i] = edge;
}

static int edges_resize(struct trie *t, uint32_t bits)
{
    size_t size = sizeof(struct trie_edge) << bits;
    struct trie_edge *old = t->edges, *fresh = lines_alloc(size);
    if (!fresh) return -1;
    memset(fresh, 0, size);
    uint32_t before = 1u << t->edge_bits;
    t->edges = fresh;
    t->edge_bits = bits;
    for (uint32_t i = 0; i < before; i++)
        if (old[i].child) edge_put(t, old[i]);
    free(old);
    return 0;
}

/* Empty a position and close the gap: whoever behind it was pushed on over it moves back. */
static void edge_delete(struct trie *t, uint32_t hole)
{
    uint32_t mask = (1u << t->edge_bits) - 1;
    for (uint32_t i = (hole + 1) & mask; t->edges[i].child; i = (i + 1) & mask) {
        uint32_t home = edge_home(t, t->edges[i].tag);
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        t->edges[hole] = t->edges[i];
        hole = i;
    }
    t->edges[hole].child = 0;
    t->nedges--;
    if (t->edge_bits > 10 && t->nedges < (1u << t->edge_bits) / 16)
        edges_resize(t, t->edge_bits - 2); /* failure: it stays large */
}

/* A new node, not yet linked; 0: out of memory. */
static uint32_t node_new(struct trie *t, uint32_t parent, const char *s, size_t n, uint32_t hash)
{
    if (!t->free_node && t->nnodes == t->cap_nodes) {
        if (t->cap_nodes >= UINT32_MAX / 2) return 0;
        struct trie_node *more = lines_alloc((size_t)t->cap_nodes * 2 * sizeof *more);
        if (!more) return 0;
        memcpy(more, t->nodes, (size_t)t->nnodes * sizeof *more);
        free(t->nodes);
        t->nodes = more;
        t->cap_nodes *= 2;
    }
    char *far = NULL;
    if (n > TRIE_INLINE && !(far = malloc(n))) return 0;
    uint32_t id = t->free_node ? t->free_node : t->nnodes++;
    struct trie_node *node = &t->nodes[id];
    if (t->free_node) t->free_node = node->parent;
    memset(node, 0, sizeof *node);
    node->parent = parent;
    node->hash = hash;
    node->len = (uint16_t)n;
    if (far) {
        memcpy(far, s, n);
        memcpy(node->token, &far, sizeof far);
    } else {
        memcpy(node->token, s, n);
    }
    t->live++;
    return id;
}

void trie_prune(struct trie *t, uint32_t id)
{
    while (id) {
        struct trie_node *node = &t->nodes[id], *up = &t->nodes[node->parent];
        if (node->own || node->gt || node->star || node->nkids) return;
        uint32_t parent = node->parent;
        if (node->is_star) {
            up->star = 0;
        } else {
            uint32_t tag = edge_tag(parent, node->hash), mask = (1u << t->edge_bits) - 1, i = edge_home(t, tag);
            while (t->edges[i].child != id) i = (i + 1) & mask;
            edge_delete(t, i);
            up->nkids--;
        }
        token_free(node);
        node->is_free = 1;
        node->parent = t->free_node;
        t->free_node = id;
        t->live--;
        id = parent;
    }
}

/* Room for walks and spelling up to this depth and length, so that they need no memory later. */
static int reserve(struct trie *t, size_t depth, size_t len)
{
    if (depth > t->depth) {
        size_t want = depth < 8 ? 8 : depth * 2;
        struct trie_token *toks = realloc(t->toks, want * sizeof *toks);
        if (!toks) return -1;
        t->toks = toks;
        struct trie_step *stack = realloc(t->stack, (want + 1) * sizeof *stack);
        if (!stack) return -1;
        t->stack = stack;
        t->depth = (uint32_t)want;
    }
    if (len > t->cap_text) {
        size_t want = len < 64 ? 64 : len * 2;
        char *text = realloc(t->text, want);
        if (!text) return -1;
        t->text = text;
        t->cap_text = want;
    }
    return 0;
}

static inline bool token_is(const char *s, size_t at, size_t end, char what) { return end - at == 1 && s[at] == what; }

static inline size_t token_end(const char *s, size_t at, size_t n)
{
    const char *dot = memchr(s + at, '.', n - at);
    return dot ? (size_t)(dot - s) : n;
}

/* The child of `id` for one token, made if it is missing; 0: out of memory. */
static uint32_t child_get(struct trie *t, uint32_t id, const char *s, size_t n)
{
    bool star = n == 1 && s[0] == '*';
    uint32_t hash = token_hash(t, s, n);
    if (star) {
        if (t->nodes[id].star) return t->nodes[id].star;
    } else {
        uint32_t i = edge_find(t, id, hash, s, n);
        if (i != UINT32_MAX) return t->edges[i].child;
        if (t->nedges >= (1u << t->edge_bits) / 2 && (t->edge_bits == 31 || edges_resize(t, t->edge_bits + 1) != 0))
            return 0;
    }
    uint32_t child = node_new(t, id, s, n, hash);
    if (!child) return 0;
    if (star) {
        t->nodes[child].is_star = 1;
        t->nodes[id].star = child;
    } else {
        edge_put(t, (struct trie_edge){edge_tag(id, hash), child});
        t->nedges++;
        t->nodes[id].nkids++;
    }
    return child;
}

int trie_add(struct trie *t, const char *s, size_t n, struct trie_ref *ref)
{
    if (n > MAX_PATTERN || reserve(t, subject_tokens(s, n), n) != 0) return -1;
    uint32_t id = 0;
    for (size_t at = 0;; at++) {
        size_t end = token_end(s, at, n);
        if (end == n && token_is(s, at, end, '>')) {
            *ref = (struct trie_ref){id, true};
            return 0;
        }
        uint32_t child = child_get(t, id, s + at, end - at);
        if (!child) {
            trie_prune(t, id);
            return -1;
        }
        id = child;
        if (end == n) break;
        at = end;
    }
    *ref = (struct trie_ref){id, false};
    return 0;
}

bool trie_find(struct trie *t, const char *s, size_t n, struct trie_ref *ref)
{
    uint32_t id = 0;
    for (size_t at = 0;; at++) {
        size_t end = token_end(s, at, n);
        if (end == n && token_is(s, at, end, '>')) {
            *ref = (struct trie_ref){id, true};
            return true;
        }
        if (token_is(s, at, end, '*')) {
            id = t->nodes[id].star;
            if (!id) return false;
        } else {
            uint32_t i = edge_find(t, id, token_hash(t, s + at, end - at), s + at, end - at);
            if (i == UINT32_MAX) return false;
            id = t->edges[i].child;
        }
        if (end == n) break;
        at = end;
    }
    *ref = (struct trie_ref){id, false};
    return true;
}

const char *trie_text(struct trie *t, struct trie_ref ref, size_t *len)
{
    char *end = t->text + t->cap_text, *p = end;
    if (ref.gt) *--p = '>';
    for (uint32_t id = ref.node; id; id = t->nodes[id].parent) {
        const struct trie_node *node = &t->nodes[id];
        if (p != end) *--p = '.';
        p -= node->len;
        memcpy(p, node_token(node), node->len);
    }
    *len = (size_t)(end - p);
    return p;
}

/* Cut a subject into tokens and hash each, the first t->depth of them. Returns how many there are, 0 if one is empty. */
static uint32_t tokenize(struct trie *t, const char *s, size_t n)
{
    uint32_t count = 0;
    for (size_t at = 0;; at++) {
        size_t end = at;
        while (end < n && s[end] != '.') end++;
        if (end == at) return 0;
        if (count < t->depth)
            t->toks[count] = (struct trie_token){s + at, (uint32_t)(end - at), token_hash(t, s + at, end - at)};
        count++;
        if (end == n) return count;
        at = end;
    }
}

static int hit(struct trie *t, void *value)
{
    if (t->nhits == t->cap_hits) {
        uint32_t cap = t->cap_hits ? t->cap_hits * 2 : 16;
        void **more = realloc(t->hits, cap * sizeof *more);
        if (!more) return -1;
        t->hits = more;
        t->cap_hits = cap;
    }
    __builtin_prefetch(value);
    t->hits[t->nhits++] = value;
    return 0;
}

int trie_walk(struct trie *t, const char *s, size_t n)
{
    t->nhits = 0;
    uint32_t count = t->live || t->nodes[0].gt ? tokenize(t, s, n) : 0;
    if (!count) return 0;
    const uint32_t mask = (1u << t->edge_bits) - 1, known = count < t->depth ? count : t->depth;
    uint32_t top = 0;
    t->stack[top++] = (struct trie_step){0, 0};
    while (top) { /* one pass a '*' branch; at most one branch waits for each level */
        struct trie_step at = t->stack[--top];
        for (;;) {
            const struct trie_node *node = &t->nodes[at.node];
            if (at.level == count) {
                if (node->own && hit(t, node->own) != 0) return -1;
                break;
            }
            if (node->gt && hit(t, node->gt) != 0) return -1;
            uint32_t next = at.level + 1;
            if (node->star && next == count) {
                if (node->star_own && hit(t, node->star_own) != 0) return -1;
            } else if (node->star) {
                __builtin_prefetch(&t->nodes[node->star]);
                if (next < known) __builtin_prefetch(&t->edges[edge_home(t, edge_tag(node->star, t->toks[next].hash))]);
                t->stack[top++] = (struct trie_step){node->star, next};
            }
            if (!node->nkids) break;
            const struct trie_token *tok = &t->toks[at.level];
            uint32_t tag = edge_tag(at.node, tok->hash), child = 0;
            for (uint32_t i = edge_home(t, tag); t->edges[i].child; i = (i + 1) & mask) {
                if (t->edges[i].tag != tag) continue;
                uint32_t c = t->edges[i].child;
                const struct trie_node *kid = &t->nodes[c];
                __builtin_prefetch(kid);
                if (next < known) __builtin_prefetch(&t->edges[edge_home(t, edge_tag(c, t->toks[next].hash))]);
                if (kid->parent == at.node && kid->len == tok->len && memcmp(node_token(kid), tok->at, tok->len) == 0) {
                    child = c;
                    break;
                }
            }
            if (!child) break;
            at = (struct trie_step){child, next};
        }
    }
    return 0;
}
