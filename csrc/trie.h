/* The trie under the sublist: token paths to values.
 *
 *   nodes[]  one array, one cache line a node, named by index (0: the root, and "none")
 *            parent | star | nkids | hash | own -> value that ends here | gt -> value of "here.>" | star_own -> value of "here.*" |
 *            the token itself
 *   edges[]  ONE open-addressed table {tag, child} for all literal steps. The tag hashes (parent, token) and its upper bits are the
 *            position, so that growing and deleting never look at a node. A step costs one line here and one line in nodes[], and
 *            as soon as a child's number is known, its line and the line of the *next* step are fetched at the same time.
 *
 * '>' is a wildcard only as the last token. Values are opaque; the caller sets them with trie_set and prunes after clearing one.
 */
#ifndef SPLINE_TRIE_H
#define SPLINE_TRIE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRIE_INLINE 20 /* bytes of a token that lie in the node */

struct trie_node {
    uint32_t parent; /* of a free node: the next free one */
    uint32_t star;
    uint32_t nkids; /* literal children */
    uint32_t hash;  /* of the token */
    void *own, *gt;
    void *star_own; /* the own of the '*' child: most '*' end a pattern, and then that child need not be looked at */
    uint16_t len;   /* of the token */
    uint8_t is_star, is_free;
    char token[TRIE_INLINE]; /* longer ones: a pointer lies here */
};

struct trie_edge {
    uint32_t tag, child;
};
struct trie_token {
    const char *at;
    uint32_t len, hash;
};
struct trie_step {
    uint32_t node, level;
};

struct trie {
    struct trie_node *nodes;
    uint32_t nnodes, cap_nodes, free_node, live;
    struct trie_edge *edges;
    uint32_t nedges, edge_bits;
    uint32_t depth; /* of the deepest pattern so far: toks and stack have room for it */
    struct trie_token *toks;
    struct trie_step *stack;
    void **hits; /* what the last walk met */
    uint32_t nhits, cap_hits;
    char *text; /* room to spell out the longest pattern */
    size_t cap_text;
    uint64_t seed;
};

_Static_assert(sizeof(struct trie_node) == 64, "one cache line");

/* A place in the trie: node, or the '>' below node. */
struct trie_ref {
    uint32_t node;
    bool gt;
};

/* Line-aligned memory for free(). Large blocks ask for huge pages: a random walk over small ones misses the TLB at each step. */
void *lines_alloc(size_t size);

int trie_init(struct trie *t);
void trie_clear(struct trie *t);
/* Find or make the path of a pattern (at most 65535 bytes). 0 or -1 (out of memory or too long; nothing changed). */
int trie_add(struct trie *t, const char *s, size_t n, struct trie_ref *ref);
/* The place of a pattern if its path exists. */
bool trie_find(struct trie *t, const char *s, size_t n, struct trie_ref *ref);
static inline void *trie_get(const struct trie *t, struct trie_ref ref)
{
    const struct trie_node *node = &t->nodes[ref.node];
    return ref.gt ? node->gt : node->own;
}
static inline void trie_set(struct trie *t, struct trie_ref ref, void *value)
{
    struct trie_node *node = &t->nodes[ref.node];
    *(ref.gt ? &node->gt : &node->own) = value;
    if (!ref.gt && node->is_star) t->nodes[node->parent].star_own = value;
}
/* Free the node if nothing ends in or below it, then its parent, and so on. */
void trie_prune(struct trie *t, uint32_t node);
/* Collect in t->hits the values whose patterns meet a subject. 0 or -1 (out of memory). */
int trie_walk(struct trie *t, const char *s, size_t n);
/* Spell out a pattern; valid until the next trie_add or trie_text. */
const char *trie_text(struct trie *t, struct trie_ref ref, size_t *len);
#endif
