/* Accounts and their clients: binding, and the limits that hold for all connections of an account on all workers. */
#include "core.h"
#include "rewrite.h"
#include "stage.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LOG_PAUSE_MS 2000

static void least(int64_t *limit, int64_t other)
{
    if (other >= 0 && (*limit < 0 || other < *limit)) *limit = other;
}

void account_limits(struct core *k, struct conn *c)
{
    int64_t subs = k->cfg.max_subscriptions ? (int64_t)k->cfg.max_subscriptions : -1, payload = k->cfg.max_payload;
    if (c->acc) {
        least(&subs, c->acc->max_subs);
        least(&payload, c->acc->max_payload);
    }
    c->max_subs = subs < 0 || subs > UINT32_MAX ? UINT32_MAX : (uint32_t)subs;
    c->max_payload = payload < 0 ? INT64_MAX : payload;
}

static struct shared_account *counts(struct core *k, const struct account *a, uint32_t worker)
{
    return shared_account(k->shared, k->cfg.workers, worker, a->place);
}

/* Count a connection, unless that makes too many: first added, then summed up, so that workers that race cannot both have the
 * last place. */
static bool enter(struct core *k, struct conn *c, struct account *a)
{
    c->acc_conns = atomic_fetch_add(&a->counts->conns, 1) + 1;
    if (a->place == UINT32_MAX || a->max_conns < 0) return true;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < k->cfg.workers; i++) sum += atomic_load(&counts(k, a, i)->conns);
    if (sum <= (uint64_t)a->max_conns) return true;
    atomic_fetch_sub(&a->counts->conns, 1);
    return false;
}

/* Whether a refusal that clients can repeat at will is worth another line of the log. */
bool account_may_log(struct core *k, struct account *a)
{
    if (a->logged_at && k->now - a->logged_at < LOG_PAUSE_MS) return false;
    a->logged_at = k->now;
    return true;
}

void account_leave(struct conn *c)
{
    if (!c->open || !c->acc) return;
    c->open = false;
    c->acc_conns = atomic_fetch_sub(&c->acc->counts->conns, 1) - 1;
}

bool account_bind(struct core *k, struct conn *c, struct account *a)
{
    if (!c->open || c->acc != a) {
        account_leave(c);
        if (!enter(k, c, a)) {
            c->acc = a; /* what it wanted to be in */
            event_log(k, c, 0, "maximum account active connections exceeded");
            conn_error(k, c, "maximum account active connections exceeded", MAX_ACCOUNT_CONNECTIONS);
            return false;
        }
    }
    c->acc = a, c->open = true, c->auth_at = 0, c->last = NULL;
    account_limits(k, c);
    return true;
}

/* Where its connections are counted: the same place in all processes, which it keeps even when no configuration knows it any more. */
static void take_place(struct core *k, struct account *a, uint32_t place)
{
    if (a->place != UINT32_MAX || place >= k->cfg.accounts) return;
    a->place = place;
    a->counts = counts(k, a, k->cfg.index);
    atomic_fetch_add(&a->counts->conns, atomic_load(&a->own.conns));
    atomic_fetch_add(&a->counts->subs, atomic_load(&a->own.subs));
    atomic_fetch_add(&a->counts->shadows, atomic_load(&a->own.shadows));
    if (a->own.asked) a->counts->asked = 1;
    a->counts->in_msgs += a->own.in_msgs, a->counts->in_bytes += a->own.in_bytes;
    a->counts->out_msgs += a->own.out_msgs, a->counts->out_bytes += a->own.out_bytes;
    a->counts->slow_consumers += a->own.slow_consumers;
}

int spl_accounts_room(spl_core *k, uint32_t accounts)
{
    if (accounts <= k->cfg.accounts) return 0;
    size_t old = shared_bytes(k->cfg.workers, k->cfg.accounts), more = shared_bytes(k->cfg.workers, accounts);
    void *page = mremap(k->shared, old, more, MREMAP_MAYMOVE);
    if (page == MAP_FAILED) return -1;
    k->cfg.accounts = accounts;
    core_use_page(k, page);
    for (uint32_t i = 0; i < k->naccounts; i++)
        if (k->accounts[i]->place != UINT32_MAX) k->accounts[i]->counts = counts(k, k->accounts[i], k->cfg.index);
    return 0;
}

int spl_account_limits(spl_core *k, int account, uint32_t place, int64_t max_connections, int64_t max_subscriptions,
                       int64_t max_payload)
{
    struct account *a = account_get(k, (uint32_t)account);
    if (!a) return -1;
    struct stage *s = NULL;
    if (k->staging && !(s = stage_of(k, a))) return -1;
    take_place(k, a, place);
    *(s ? &s->max_conns : &a->max_conns) = max_connections;
    *(s ? &s->max_subs : &a->max_subs) = max_subscriptions;
    *(s ? &s->max_payload : &a->max_payload) = max_payload;
    return 0;
}

/* ---- subject mappings ---- */

spl_transform *spl_transform_new(int64_t rest) { return transform_new(rest); }
void spl_transform_free(spl_transform *t) { transform_free(t); }
int spl_transform_step(spl_transform *t, int kind, const char *text, size_t len, const uint32_t *tokens, size_t ntokens,
                       int64_t number)
{
    return transform_step(t, kind, text, len, tokens, ntokens, number);
}

int spl_mapping(spl_core *k, int account, const char *source, size_t len)
{
    struct account *a = account_get(k, (uint32_t)account);
    struct stage *s = NULL;
    if (!a || (k->staging && !(s = stage_of(k, a)))) return -1;
    return mappings_add(s ? &s->mappings : &a->mappings, source, len);
}

int spl_mapping_to(spl_core *k, int account, spl_transform *to, uint32_t upto)
{
    struct account *a = account_get(k, (uint32_t)account);
    struct stage *s = NULL;
    struct mappings *m = NULL;
    if (a && (!k->staging || (s = stage_of(k, a)))) m = s ? s->mappings : a->mappings;
    if (m) return mappings_to(m, to, upto);
    transform_free(to);
    return -1;
}

/* ---- what services are told of their clients ---- */

static int keep(char **at, uint32_t *len, const char *text, size_t n)
{
    char *copy = malloc(n + 1);
    if (!copy) return -1;
    memcpy(copy, text, n);
    free(*at);
    *at = copy, *len = (uint32_t)n;
    return 0;
}

int spl_account_label(spl_core *k, int account, const char *json, size_t len)
{
    struct account *a = account_get(k, (uint32_t)account);
    struct stage *s = NULL;
    if (!a || (k->staging && !(s = stage_of(k, a)))) return -1;
    rewrite_forget_asker(k);
    return keep(s ? &s->label : &a->label, s ? &s->label_len : &a->label_len, json, len);
}

void spl_system_account(spl_core *k, int account)
{
    struct account *a = account_get(k, (uint32_t)account);
    k->system_account = a ? account : -1;
    if (a && k->cfg.gateway) sublist_track(a->subs, true);
    rewrite_forget_asker(k);
}

int spl_where(spl_core *k, const char *json, size_t len)
{
    if (k->staging) return keep(&k->staged_where, &k->staged_where_len, json, len);
    rewrite_forget_asker(k);
    return keep(&k->where, &k->where_len, json, len);
}

int spl_conn_identity(spl_core *k, uint64_t handle, const char *json, size_t len)
{
    struct conn *c = conn_by_handle(k, handle);
    rewrite_forget_asker(k);
    return c ? keep(&c->identity, &c->identity_len, json, len) : -1;
}
