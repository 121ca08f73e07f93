/* A client connection without a socket: bytes in, bytes out, for tests and fuzz targets of the parser.
 *
 * Every piece is parsed from memory of exactly its size, so that the sanitizer sees a read past it. What the reactor and the owner
 * would do (go on after a hold, answer CONNECT) is done here.
 */
#ifndef FAKE_CLIENT_H
#define FAKE_CLIENT_H
#include "config.h"
#include <stdlib.h>
#include <string.h>

struct fake {
    struct core *k;
    struct conn *c;
    char *rest;
    size_t nrest;
};

static inline struct core *fake_core(void)
{
    struct spl_config cfg = test_config(0, 1);
    cfg.max_payload = 4096, cfg.max_pending = 16 << 20;
    struct core *k = spl_new(&cfg);
    if (!k || spl_account(k, "$G", 2) != 0) abort();
    return k;
}

static inline void fake_open(struct fake *f)
{
    memset(f, 0, sizeof *f);
    f->k = fake_core();
    struct conn *c = conn_new(f->k, -1, KIND_CLIENT);
    if (!c) abort();
    c->acc = f->k->accounts[0];
    c->open = c->verbose = c->pedantic = c->echo = true;
    f->c = c;
}

static inline bool fake_told(const struct fake *f, uint32_t type)
{
    for (uint32_t i = 0; i < f->k->nevents; i++)
        if (f->k->events[i].type == type) return true;
    return false;
}

static inline void fake_feed(struct fake *f, const char *p, size_t n)
{
    struct conn *c = f->c;
    size_t all = f->nrest + n;
    char *buf = malloc(all ? all : 1);
    if (f->nrest) memcpy(buf, f->rest, f->nrest);
    if (n) memcpy(buf + f->nrest, p, n);
    free(f->rest);
    size_t at = 0;
    while (!c->closed) {
        size_t used = client_parse(f->k, c, buf + at, all - at);
        if (used > all - at) abort();
        at += used;
        if (!c->hold) break;
        if (c->hold & HOLD_CONNECT &&
            fake_told(f, SPL_CONNECT)) { /* every CONNECT is good here, and makes the client quiet */
            c->verbose = c->pedantic = false;
            c->headers = c->no_responders = c->connected = true;
        }
        c->hold = 0;
        c->resume_at = 0;
        f->k->nevents = 0;
    }
    f->nrest = all - at;
    f->rest = malloc(f->nrest ? f->nrest : 1);
    memcpy(f->rest, buf + at, f->nrest);
    free(buf);
}

/* Everything the client was sent, as one block; the caller frees it. */
static inline char *fake_output(struct fake *f, size_t *n)
{
    *n = output_pending(f->c);
    char *all = malloc(*n ? *n : 1), *w = all;
    for (struct chunk *h = f->c->out; h; h = h->next) {
        size_t len = h == f->c->out_last ? (size_t)(f->c->wp - h->data) : h->len;
        memcpy(w, h->data + h->off, len - h->off);
        w += len - h->off;
    }
    if ((size_t)(w - all) != *n) abort();
    return all;
}

static inline void fake_close(struct fake *f)
{
    free(f->rest);
    spl_free(f->k);
}
#endif
