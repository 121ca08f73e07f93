/* The core: creation, accounts, permission sets, and the commands of its owner. */
#include "core.h"
#include "import.h"
#include "internal.h"
#include "msgtrace.h"
#include "rewrite.h"
#include "service.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Commands come between turns: what they marked is worked off at once. */
void end_of_command(struct core *k)
{
    k->now = clock_ms();
    if (k->ndirty_accounts) mesh_flush_interest(k);
    output_flush_dirty(k);
    if (k->nevents || k->fed_output || k->waiting_owner || k->ndead || k->dying)
        timer_soon(k);
    else
        timer_arm(k);
}

void core_use_page(struct core *k, void *page)
{
    k->shared = page;
    k->slot = &k->shared->slot[k->cfg.index];
    k->stats = shared_stats(k->shared, k->cfg.workers, k->cfg.index);
}

static bool map_shared(struct core *k, const struct spl_config *cfg)
{
    size_t size = shared_bytes(cfg->workers, cfg->accounts);
    void *page = cfg->shared_fd >= 0 ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, cfg->shared_fd, 0)
                                     : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return false;
    core_use_page(k, page);
    atomic_store(&k->slot->pid, (uint32_t)getpid());
    return true;
}

spl_core *spl_new(const struct spl_config *cfg)
{
    uint32_t processes = cfg->workers + (cfg->gateway != 0);
    if (cfg->workers < 1 || processes > MAX_PEERS || cfg->index >= processes) {
        errno = EINVAL;
        return NULL;
    }
    struct core *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    k->cfg = *cfg;
    k->epfd = k->timerfd = -1;
    for (int i = 0; i < MAX_PEERS; i++) k->handoff[i] = -1;
    k->min_acked = UINT64_MAX;
    k->system_account = -1;
    k->keep_max = READ_MAX + (size_t)cfg->max_control_line;
    k->now = clock_ms();
    struct conn *timer = NULL;
    if (!map_shared(k, cfg) || (k->epfd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
        (k->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) < 0 ||
        getrandom(&k->rng, sizeof k->rng, 0) != sizeof k->rng || !(k->rbuf = malloc(k->keep_max + READ_MAX)) ||
        !(timer = conn_new(k, k->timerfd, KIND_TIMER))) {
        spl_free(k);
        return NULL;
    }
    k->rng |= 1;
    prctl(PR_SET_TIMERSLACK, 1000UL); /* else a nap of 20 us takes 70 */
    reactor_watch(k, timer);
    return k;
}

void spl_free(spl_core *k)
{
    if (!k) return;
    k->draining = true;
    conn_empty_grave(k);
    k->dirty = k->dying = k->runnable = NULL;
    for (uint32_t i = 0; i < k->cap_conns; i++) {
        struct conn *c = k->conns[i];
        if (!c) continue;
        output_discard(k, c);
        if (c->acc) conn_drop_subs(k, c);
        if (c->kind != KIND_TIMER && c->kind != KIND_WATCH) reactor_close_fd(k, c);
        c->next_dying = k->grave, k->grave = c, c->dirty = false;
    }
    conn_empty_grave(k);
    spl_accounts_abort(k);
    services_free(k);
    msgtrace_free(k);
    internal_free(k);
    for (uint32_t i = 0; i < k->naccounts; i++) {
        free(k->accounts[i]->label);
        free(k->accounts[i]->trace.dest);
        sublist_free(k->accounts[i]->subs);
        mappings_free(k->accounts[i]->mappings);
        imports_free(k->accounts[i]->streams);
        free(k->accounts[i]->name);
        free(k->accounts[i]);
    }
    for (uint32_t i = 0; i < k->nperms; i++) permissions_release(k->perms[i]);
    permissions_release(k->no_auth_perms);
    imports_forget_shown(k);
    rewrite_forget_asker(k);
    free(k->special);
    free(k->where);
    mesh_free(k);
    monitor_free(k);
    output_pool_free(k);
    if (k->shared) munmap(k->shared, shared_bytes(k->cfg.workers, k->cfg.accounts));
    if (k->epfd >= 0) close(k->epfd);
    if (k->timerfd >= 0) close(k->timerfd);
    free(k->accounts);
    free(k->account_names);
    free(k->dirty_accounts);
    free(k->perms);
    free(k->conns);
    free(k->gens);
    free(k->cids);
    free(k->next_free);
    free(k->heap);
    free(k->dead);
    events_free(k);
    free(k->rbuf);
    free(k);
}

int spl_fd(const spl_core *k) { return k->epfd; }

int spl_watch(spl_core *k, int fd)
{
    struct conn *c = conn_new(k, fd, KIND_WATCH);
    if (!c) return -ENOMEM;
    reactor_watch(k, c);
    return 0;
}

void spl_unwatch(spl_core *k, int fd)
{
    for (uint32_t i = 0; i < k->cap_conns; i++) {
        struct conn *c = k->conns[i];
        if (!c || c->kind != KIND_WATCH || c->fd != fd || c->closed) continue;
        epoll_ctl(k->epfd, EPOLL_CTL_DEL, fd, NULL);
        c->fd = -1;
        conn_close(k, c, CLIENT_CLOSED);
    }
}

void spl_beat(spl_core *k)
{
    atomic_store(&k->slot->beat_ms, clock_ms());
    if (k->starved) mesh_repair(k);
}

int spl_listen(spl_core *k, int fd)
{
    if (k->nlisteners == sizeof k->listeners / sizeof *k->listeners) return -ENOSPC;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    struct conn *c = conn_new(k, fd, KIND_LISTENER);
    if (!c) return -ENOMEM;
    k->listeners[k->nlisteners++] = c;
    if (k->accepting) reactor_watch(k, c);
    return 0;
}

int spl_handoff(spl_core *k, uint32_t worker, int recv_fd, int send_fd)
{
    if (worker >= k->cfg.workers) return -EINVAL;
    k->handoff[worker] = send_fd;
    if (worker != k->cfg.index) return 0;
    struct conn *c = conn_new(k, recv_fd, KIND_HANDOFF);
    if (!c) return -ENOMEM;
    reactor_watch(k, c);
    return 0;
}

int spl_accepting(spl_core *k, int on)
{
    k->accepting = on;
    atomic_store(&k->slot->accepting, on ? 1u : 0u);
    spl_beat(k);
    for (uint32_t i = 0; i < k->nlisteners; i++) {
        struct conn *l = k->listeners[i];
        if (on && !l->in_watched) reactor_watch(k, l);
        if (!on && l->in_watched) {
            epoll_ctl(k->epfd, EPOLL_CTL_DEL, l->fd, NULL);
            l->in_watched = false;
        }
    }
    return 0;
}

int spl_account_find(const spl_core *k, const char *name, size_t len)
{
    uint32_t mask = k->account_names_cap - 1;
    if (!k->account_names) return -1;
    for (uint32_t i = hash32(name, len) & mask; k->account_names[i]; i = (i + 1) & mask) {
        const struct account *a = k->accounts[k->account_names[i] - 1];
        if (a->name_len == len && memcmp(a->name, name, len) == 0) return (int)a->id;
    }
    return -1;
}

static void name_put(uint32_t *table, uint32_t cap, const struct account *a)
{
    uint32_t i = hash32(a->name, a->name_len) & (cap - 1);
    while (table[i]) i = (i + 1) & (cap - 1);
    table[i] = a->id + 1;
}

/* Room for one more name. */
static int names_reserve(struct core *k)
{
    if (k->account_names && k->naccounts < k->account_names_cap / 2) return 0;
    uint32_t cap = k->account_names ? k->account_names_cap * 2 : 16, *more = calloc(cap, sizeof *more);
    if (!more) return -1;
    for (uint32_t i = 0; i < k->naccounts; i++) name_put(more, cap, k->accounts[i]);
    free(k->account_names);
    k->account_names = more, k->account_names_cap = cap;
    return 0;
}

int spl_account(spl_core *k, const char *name, size_t len)
{
    int known = spl_account_find(k, name, len);
    if (known >= 0) return known;
    uint32_t n = k->naccounts;
    if (names_reserve(k) < 0) return -1;
    struct account **dirty = realloc(k->dirty_accounts, (n + 1) * sizeof *dirty);
    if (!dirty) return -1;
    k->dirty_accounts = dirty;
    struct account **all = realloc(k->accounts, (n + 1) * sizeof *all);
    if (!all) return -1;
    k->accounts = all;
    struct account *a = calloc(1, sizeof *a);
    if (!a) return -1;
    a->name = malloc(len + 1);
    a->subs = sublist_new(k->cfg.cache_entries);
    if (a->subs) a->generation = sublist_generation(a->subs);
    if (!a->name || !a->subs) {
        free(a->name);
        if (a->subs) sublist_free(a->subs);
        free(a);
        return -1;
    }
    memcpy(a->name, name, len);
    a->name[len] = 0;
    a->name_len = (uint32_t)len, a->id = n;
    a->place = UINT32_MAX, a->counts = &a->own;
    a->max_conns = a->max_subs = a->max_payload = -1;
    sublist_track(a->subs, k->cfg.workers > 1);
    k->accounts[k->naccounts++] = a;
    name_put(k->account_names, k->account_names_cap, a);
    return (int)n;
}

spl_perms *spl_perms_new(spl_core *k)
{
    struct permissions **more = realloc(k->perms, (k->nperms + 1) * sizeof *more);
    if (!more) return NULL;
    k->perms = more;
    struct permissions *p = permissions_new();
    if (p) k->perms[k->nperms++] = p;
    return p;
}

int spl_perms_add(spl_perms *p, int list, const char *s, size_t n, const char *q, size_t nq)
{
    return permissions_add(p, (enum perm_list)list, s, n, q, nq);
}

void spl_perms_responses(spl_perms *p, int64_t max, int64_t expires_ms)
{
    permissions_set_responses(p, max, expires_ms);
}

void spl_no_auth(spl_core *k, int account, spl_perms *perms)
{
    k->no_auth_acc = account_get(k, (uint32_t)account);
    permissions_hold(perms);
    permissions_release(k->no_auth_perms);
    k->no_auth_perms = perms;
}

/* ---- connections ---- */

static char *copy(const char *p, size_t n)
{
    char *c = malloc(n ? n : 1);
    if (c) memcpy(c, p, n);
    return c;
}

static bool server_full(struct core *k)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < k->cfg.workers; i++) sum += atomic_load(&k->shared->slot[i].live);
    return (int64_t)sum > k->cfg.max_connections;
}

/* Is there room for it? If not, it is told so and closed. */
static bool admit(struct core *k, struct conn *c)
{
    if (c->admitted) return true;
    if (!server_full(k)) return c->admitted = true;
    atomic_fetch_sub(&k->slot->live, 1);
    k->stats->connections--;
    k->stats->refused++;
    c->counted = false;
    conn_error(k, c, "maximum connections exceeded", MAX_CONNECTIONS);
    return false;
}

int spl_conn_admit(spl_core *k, uint64_t handle)
{
    struct conn *c = conn_by_handle(k, handle);
    if (!c || !(c->hold & HOLD_START)) return -1;
    k->now = clock_ms();
    bool admitted = admit(k, c);
    end_of_command(k);
    return admitted ? 0 : -1;
}

int spl_conn_start(spl_core *k, uint64_t handle, const char *info, size_t info_len, const char *cookie,
                   size_t cookie_len)
{
    struct conn *c = conn_by_handle(k, handle);
    if (!c || !(c->hold & HOLD_START)) return -1;
    k->now = clock_ms();
    if (info_len) output_write(k, c, info, info_len);
    bool admitted = admit(k, c);
    if (admitted) {
        if (cookie_len && (c->cookie = copy(cookie, cookie_len))) c->cookie_len = (uint32_t)cookie_len;
        if (k->cfg.auth_required) {
            c->auth_at = k->now + k->cfg.auth_timeout;
        } else if (k->naccounts) {
            account_bind(k, c, k->accounts[0]); /* never full: only configured accounts have limits */
        }
        c->ping_at = k->now + k->cfg.ping_interval;
        timer_set(k, c);
        conn_release_hold(k, c, HOLD_START);
    }
    end_of_command(k);
    return admitted ? 0 : -1;
}

int spl_conn_accept(spl_core *k, uint64_t handle, int account, spl_perms *perms, uint32_t flags, const char *meta,
                    size_t meta_len, const char *after_pong, size_t after_pong_len)
{
    struct conn *c = conn_by_handle(k, handle);
    struct account *a = account_get(k, (uint32_t)account);
    if (!c || !a || !(c->hold & HOLD_CONNECT)) return -1;
    k->now = clock_ms();
    monitor_count_out(k, c);
    if (c->acc && c->nsubs) conn_drop_subs(k, c); /* a second CONNECT starts afresh */
    if (!account_bind(k, c, a)) {
        end_of_command(k);
        return -1;
    }
    conn_set_permissions(c, perms);
    c->verbose = flags & SPL_VERBOSE, c->pedantic = flags & SPL_PEDANTIC, c->echo = flags & SPL_ECHO;
    c->headers = flags & SPL_HEADERS, c->no_responders = flags & SPL_NO_RESPONDERS;
    c->late_pong = k->cfg.workers > 1 && (flags & SPL_LATE_PONG);
    free(c->meta);
    c->meta = copy(meta, meta_len), c->meta_len = c->meta ? (uint32_t)meta_len : 0;
    if (!c->connected && after_pong_len) {
        c->after_pong = copy(after_pong, after_pong_len);
        c->after_pong_len = c->after_pong ? (uint32_t)after_pong_len : 0;
    }
    if (!c->connected) {
        c->connected = true;
        uint64_t first = k->cfg.ping_interval < 2000 ? k->cfg.ping_interval : 2000;
        c->ping_at = k->now + first + random_below(k, (uint32_t)(first / 5 + 1));
        timer_set(k, c);
    }
    c->last_in = c->last_active = k->now;
    if (c->verbose) conn_ok(k, c);
    conn_release_hold(k, c, HOLD_CONNECT);
    end_of_command(k);
    return 0;
}

int spl_conn_reject(spl_core *k, uint64_t handle, uint32_t reason, const char *text, size_t len)
{
    struct conn *c = conn_by_handle(k, handle);
    if (!c) return -1;
    k->now = clock_ms();
    if (len) {
        output_write(k, c, "-ERR '", 6);
        output_write(k, c, text, len);
        output_write(k, c, "'\r\n", 3);
    }
    conn_close(k, c, reason);
    end_of_command(k);
    return 0;
}

int spl_conn_resume(spl_core *k, uint64_t handle)
{
    struct conn *c = conn_by_handle(k, handle);
    if (!c || !(c->hold & HOLD_CONNECT)) return -1;
    conn_release_hold(k, c, HOLD_CONNECT);
    end_of_command(k);
    return 0;
}

int spl_conn_get(spl_core *k, uint64_t handle, struct spl_conn_info *out)
{
    const struct conn *c = conn_known(k, handle);
    memset(out, 0, sizeof *out);
    if (!c) return -1;
    out->cid = c->cid, out->port = c->port, out->subs = c->nsubs;
    out->in_msgs = c->in_msgs, out->in_bytes = c->in_bytes, out->out_msgs = c->out_msgs, out->out_bytes = c->out_bytes;
    out->pending = output_pending(c);
    out->start_ns = c->start_ns;
    out->account = c->acc && c->open ? (int)c->acc->id : -1;
    out->meta = c->meta, out->meta_len = c->meta_len, out->cookie = c->cookie, out->cookie_len = c->cookie_len;
    out->flags = (c->open ? SPL_BOUND : 0u) | (c->connected ? SPL_CONNECTED : 0u) | (c->ponged ? SPL_PONGED : 0u);
    conn_ip(c, out->ip);
    return 0;
}

void spl_close_clients(spl_core *k, uint32_t reason)
{
    k->now = clock_ms();
    k->draining = true;
    for (uint32_t i = 0; i < k->cap_conns; i++)
        if (k->conns[i] && k->conns[i]->kind == KIND_CLIENT) conn_close(k, k->conns[i], reason);
    output_flush_dirty(k);
    conn_bury(k);
}

void spl_set_trace(spl_core *k, int debug, int trace) { k->debug = debug, k->trace = trace; }

void spl_get_stats(const spl_core *k, uint32_t worker, struct spl_stats *out)
{
    memset(out, 0, sizeof *out);
    if (worker <= k->cfg.workers) *out = *shared_stats(k->shared, k->cfg.workers, worker);
}

uint32_t spl_worker_pid(const spl_core *k, uint32_t worker)
{
    return worker <= k->cfg.workers ? atomic_load(&k->shared->slot[worker].pid) : 0;
}
