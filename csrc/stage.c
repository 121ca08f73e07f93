/* stage.c: see stage.h. */
#include "stage.h"
#include "import.h"
#include "rewrite.h"
#include "service.h"
#include <stdlib.h>

struct stage *stage_of(struct core *k, struct account *a)
{
    (void)k;
    if (a->stage || !(a->stage = calloc(1, sizeof *a->stage))) return a->stage;
    a->stage->max_conns = a->stage->max_subs = a->stage->max_payload = -1;
    return a->stage;
}

void spl_accounts_begin(spl_core *k)
{
    spl_accounts_abort(k);
    k->staging = k->staged = true;
}

void spl_accounts_stage(spl_core *k, int on) { k->staging = k->staged && on; }

int spl_accounts_ready(spl_core *k)
{
    for (uint32_t i = 0; i < k->naccounts; i++)
        if (!stage_of(k, k->accounts[i])) return -1;
    return 0;
}

int spl_streams_stay(spl_core *k, int account)
{
    struct account *a = account_get(k, (uint32_t)account);
    struct stage *s = a && k->staging ? stage_of(k, a) : NULL;
    if (!s) return -1;
    s->streams_stay = true;
    return 0;
}

void spl_accounts_abort(spl_core *k)
{
    for (uint32_t i = 0; i < k->naccounts; i++) { /* imports first: they name exports of others */
        struct stage *s = k->accounts[i]->stage;
        if (s) service_imports_drop(s->imports);
    }
    for (uint32_t i = 0; i < k->naccounts; i++) {
        struct stage *s = k->accounts[i]->stage;
        if (!s) continue;
        service_exports_drop(s->exports);
        imports_free(s->streams);
        mappings_free(s->mappings);
        free(s->label);
        free(s->trace.dest);
        free(s);
        k->accounts[i]->stage = NULL;
    }
    free(k->staged_where);
    k->staged_where = NULL, k->staged_where_len = 0;
    k->staging = k->staged = false;
}

/* Subscriptions of a client whose account imports other streams now. */
static void cast_again(struct core *k, struct conn *c)
{
    for (uint32_t i = 0; i < c->sid_cap; i++) {
        struct sub *s = c->sids[i];
        if (!s) continue;
        shadows_drop(k, s);
        if (c->closed || shadows_cast(k, c->acc, s) == 0) continue;
        event_log(k, c, 0, "closed: no memory for what its account imports now");
        conn_close(k, c, READ_ERROR);
    }
}

static void swap(struct account *a, struct stage *s)
{
    services_swap(a, s->exports, s->imports);
    struct mappings *mappings = a->mappings;
    a->mappings = s->mappings, s->mappings = mappings;
    char *label = a->label;
    a->label = s->label, a->label_len = s->label_len, s->label = label;
    a->max_conns = s->max_conns, a->max_subs = s->max_subs, a->max_payload = s->max_payload;
    struct trace_rule trace = a->trace;
    a->trace = s->trace, s->trace = trace;
    s->exports = NULL, s->imports = NULL;
    s->streams_stay |= !a->streams && !s->streams;
    if (s->streams_stay) return;
    struct stream_import *streams = a->streams;
    a->streams = s->streams, s->streams = streams; /* the old ones: shadows still name them */
}

void spl_accounts_commit(spl_core *k)
{
    if (!k->staged) return;
    k->now = clock_ms();
    if (k->ndead) conn_bury_subs(k);
    for (uint32_t i = 0; i < k->naccounts; i++)
        if (k->accounts[i]->stage) swap(k->accounts[i], k->accounts[i]->stage);
    for (uint32_t i = 0; i < k->cap_conns; i++) {
        struct conn *c = k->conns[i];
        if (!c || c->kind != KIND_CLIENT) continue;
        if (c->acc && c->acc->stage && !c->acc->stage->streams_stay) cast_again(k, c);
        account_limits(k, c);
    }
    imports_forget_shown(k);
    rewrite_forget_asker(k);
    if (k->staged_where) {
        char *where = k->where;
        k->where = k->staged_where, k->where_len = k->staged_where_len, k->staged_where = where;
    }
    spl_accounts_abort(k); /* frees what was in force */
    end_of_command(k);
}
