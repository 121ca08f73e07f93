/* Change: what an owner may alter while the core serves. Other settings, other permissions, no more listeners. */
#include "core.h"
#include "quote.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

void spl_configure(spl_core *k, const struct spl_config *cfg)
{
    struct spl_config old = k->cfg;
    k->cfg = *cfg;
    k->cfg.index = old.index, k->cfg.serial = old.serial, k->cfg.workers = old.workers, k->cfg.gateway = old.gateway;
    k->cfg.cache_entries = old.cache_entries, k->cfg.shared_fd = old.shared_fd, k->cfg.spin_us = old.spin_us;
    k->cfg.max_subscriptions = old.max_subscriptions, k->cfg.max_sub_tokens = old.max_sub_tokens;
    k->cfg.max_pending = old.max_pending, k->cfg.max_closed = old.max_closed;
    k->cfg.accounts = old.accounts;
    for (uint32_t i = 0; i < k->cap_conns; i++)
        if (k->conns[i] && k->conns[i]->kind == KIND_CLIENT) account_limits(k, k->conns[i]);
}

uint64_t spl_conn_next(const spl_core *k, uint64_t after)
{
    for (uint32_t i = after ? (uint32_t)after + 1 : 0; i < k->cap_conns; i++) {
        const struct conn *c = k->conns[i];
        if (c && c->kind == KIND_CLIENT && !c->closed) return conn_handle(c);
    }
    return 0;
}

void spl_perms_drop(spl_core *k, spl_perms *perms)
{
    for (uint32_t i = 0; i < k->nperms; i++) {
        if (k->perms[i] != perms) continue;
        k->perms[i] = k->perms[--k->nperms];
        permissions_release(perms);
        return;
    }
}

static void forbid(struct core *k, struct conn *c, struct sub *s, const char *who, size_t len)
{
    char subject[180], sid[260], text[512];
    quote(subject, sizeof subject, s->subject, s->subject_len);
    quote(sid, sizeof sid, s->sid, s->sid_len);
    snprintf(text, sizeof text, "Permissions Violation for Subscription to %s (sid %s)", subject, sid);
    conn_error(k, c, text, 0);
    event_log(k, c, 4, "Removed sub %s (sid %s) for %.*s - not authorized", subject, sid, (int)(len < 256 ? len : 256),
              who);
    conn_drop_sub(k, c, s);
}

int spl_conn_permit(spl_core *k, uint64_t handle, spl_perms *perms, const char *who, size_t len)
{
    struct conn *c = conn_by_handle(k, handle);
    if (!c) return -1;
    k->now = clock_ms();
    conn_set_permissions(c, perms);
    int64_t max, expires;
    if (!perms || !permissions_has_responses(perms, &max, &expires)) responses_free(c);
    if (k->ndead) conn_bury_subs(k);
    for (uint32_t i = 0; i < c->sid_cap;) {
        struct sub *s = c->sids[i];
        const char *queue = s ? s->subject + s->subject_len : NULL;
        if (s && perms && !permissions_can_subscribe(perms, s->subject, s->subject_len, queue, s->queue_len)) {
            forbid(k, c, s, who, len); /* another one may have moved to this place */
            continue;
        }
        if (s) {
            bool filtered = perms && permissions_needs_filter(perms, s->subject, s->subject_len, queue, s->queue_len);
            s->special = filtered ? SUB_FILTERED : 0;
        }
        i++;
    }
    end_of_command(k);
    return 0;
}

int spl_conn_tell(spl_core *k, uint64_t handle, const char *line, size_t len)
{
    struct conn *c = conn_by_handle(k, handle);
    if (!c) return -1;
    if (c->ponged) {
        k->now = clock_ms();
        output_write(k, c, line, len);
        end_of_command(k);
        return 0;
    }
    if (!c->after_pong) return 0;
    char *later = malloc(len);
    if (!later) return 0; /* then it will be told the old one */
    memcpy(later, line, len);
    free(c->after_pong);
    c->after_pong = later, c->after_pong_len = (uint32_t)len;
    return 0;
}

void spl_unlisten(spl_core *k)
{
    spl_accepting(k, 0);
    while (k->nlisteners) conn_close(k, k->listeners[--k->nlisteners], CLIENT_CLOSED);
    conn_bury(k);
}
