/* core.h: the structures that the data plane's rooms share. Private to csrc/.
 *
 *   core --- conns[]  handle = generation << 32 | index
 *        |-- accounts[] --- sublist
 *        |-- peers[] --- conn (kind PEER: an AF_UNIX stream, same buffers and reactor as clients)
 *        `-- lists worked off at the end of every turn: dirty (output to flush), runnable (input held back that may go on),
 *            dying (closed by mark), dead subs
 *
 * Nothing is freed while a turn may still look at it: connections and subscriptions are closed by mark.
 */
#ifndef SPLINE_CORE_H
#define SPLINE_CORE_H
#include "mapping.h"
#include "permissions.h"
#include "shared.h"
#include "spline.h"
#include "subject.h"
#include "sublist.h"
#include <netinet/in.h>
#include <stdbool.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define READ_MAX (128 * 1024) /* more leaves the cache */
#define READ_MIN (32 * 1024)  /* a small read keeps others' latency low beside a bulk stream */
#define CHUNK_MAX (64 * 1024)
#define BIG_MESSAGE (32 * 1024) /* a payload this large is read straight into its own buffer */
#define MAX_PEERS SUBLIST_MAX_PEERS
#define PEER_HIGH (1024 * 1024) /* bytes queued to a peer above which its producers pause */
#define PEER_LOW (256 * 1024)
#define FED_HIGH (256 * 1024) /* bytes that wait for the owner's translation above which their producers pause */

enum closed_reason { /* numbers are those of broker/protocol/errors.py, in the order of the protocol sheet */
                     CLIENT_CLOSED = 1,
                     AUTHENTICATION_TIMEOUT,
                     AUTHENTICATION_FAILURE,
                     TLS_HANDSHAKE_FAILURE,
                     SLOW_CONSUMER_PENDING,
                     SLOW_CONSUMER_DEADLINE,
                     WRITE_ERROR,
                     READ_ERROR,
                     PARSE_ERROR,
                     STALE_CONNECTION,
                     PROTOCOL_VIOLATION,
                     BAD_CLIENT_PROTOCOL,
                     INCORRECT_PORT,
                     MAX_ACCOUNT_CONNECTIONS,
                     MAX_CONNECTIONS,
                     MAX_PAYLOAD,
                     MAX_CONTROL_LINE
};

enum kind {
    KIND_CLIENT,
    KIND_PEER,
    KIND_LISTENER,
    KIND_MESH_LISTENER,
    KIND_HANDOFF,
    KIND_TIMER,
    KIND_WATCH,
    KIND_LINGER,
    KIND_INTERNAL /* owns the subscriptions of service imports, with their timer, and of the server itself */
};

/* Why a connection's input is not being parsed (a bit each). */
enum hold { HOLD_START = 1, HOLD_CONNECT = 2, HOLD_BARRIER = 4, HOLD_STALL = 8, HOLD_PEER = 16, HOLD_OWNER = 32 };

struct chunk { /* a piece of queued output: bytes off..len of data */
    struct chunk *next;
    uint32_t cap, len, off;
    char data[];
};

struct trace_rule { /* msgtrace.h: for `traceparent` */
    char *dest;     /* NULL: none */
    uint32_t dest_len, percent;
};

struct account {
    uint32_t id, name_len;
    char *name;
    struct sublist *subs;
    struct stream_import *streams;
    struct services *services; /* answers.h: of accounts that take part in services */
    struct stage *stage;       /* stage.h: what is being prepared for it; NULL: nothing */
    char *label;               /* its name as JSON */
    uint32_t label_len;
    struct trace_rule trace;
    struct mappings *mappings;                /* of what its clients publish; NULL: none */
    uint32_t own_subs, own_gone;              /* of the server's in subs; how many have been there before */
    const uint64_t *generation;               /* of subs */
    bool dirty_queued;                        /* in core->dirty_accounts */
    uint32_t place;                           /* of its counters in the shared page, UINT32_MAX: none */
    int64_t max_conns, max_subs, max_payload; /* -1: no limit */
    uint64_t logged_at;                       /* that somebody has too many subscriptions; ms, 0: never */
    struct shared_account *counts, own;       /* counts: in the shared page, or own if it has no place there */
};

/* A connection whose bytes on the wire are its owner's business (feed.c). */
struct feed {
    struct conn *next_input, *next_output; /* in core->fed_input, core->fed_output */
    bool wants_input, wants_output;
    struct chunk *wire, *wire_last; /* translated output that the kernel has not taken */
    size_t wire_bytes;
};

/* Subscriptions that are more than a copy for their owner. */
enum sub_special { SUB_FILTERED = 1, SUB_SERVICE = 4, SUB_RESPONSE = 8, SUB_INTERNAL = 16 };

struct responses; /* allow_responses: reply subjects this connection may publish to */

struct conn {
    /* hot: delivery */
    char *wp, *wend; /* free room of the last output chunk */
    uint8_t kind, hold;
    bool closed, dirty, blocked, counted;
    bool verbose, pedantic, echo, headers, no_responders, open, connected, in_watched;
    uint64_t out_msgs, out_bytes;
    struct permissions *perms;
    struct responses *responses;
    struct chunk *out, *out_last;
    size_t queued;                      /* bytes of sealed chunks not yet written */
    uint64_t summed_msgs, summed_bytes; /* of out_msgs and out_bytes: what the sums have already */
    uint64_t last_active;               /* ms; what monitoring calls activity: not PING and PONG */
    /* hot: publishing */
    const struct match *last;
    uint64_t last_generation;
    uint32_t last_serial, last_len;
    bool last_allowed;
    bool runnable, pinged, skipping, eof, late_pong, ponged;
    bool admitted;             /* there was room for it */
    bool ping_last;            /* the last line was a PING */
    bool pong_soon, pong_slow; /* owed PONGs go with the barrier; or not before their time */
    uint8_t skip_verb;
    uint16_t pings_out;
    struct account *acc;
    uint64_t in_msgs, in_bytes, barrier;
    int64_t max_payload;     /* INT64_MAX: no limit */
    uint32_t max_subs;       /* UINT32_MAX: no limit */
    uint64_t stall_progress; /* bytes written to us when we last made a producer wait */
    uint8_t stalls;          /* how often we did so since then without having read a byte */
    uint64_t written;
    /* input that waits: a partial line or message, or everything behind a hold */
    char *in;
    uint32_t in_len, in_cap;
    uint32_t need; /* total size of the message that starts at `in`, when known and large */
    uint32_t read_size;
    int fd;
    uint32_t idx, gen;
    uint64_t cid;
    struct sub **sids; /* open addressed by sid */
    uint32_t sid_cap, nsubs;
    struct conn *next_dirty, *next_runnable, *next_dying, *next_waiting;
    /* timers: absolute ms, 0 = off; timer_at is the earliest known to the heap */
    uint64_t timer_at, ping_at, auth_at, write_at, resume_at, pong_at, last_in;
    uint32_t pongs_owed; /* of a late_pong client, due at pong_at */
    uint32_t heap_pos;   /* 1-based, 0 = not in the heap */
    uint32_t reason;
    uint32_t stalled_ms;
    uint64_t burst_ns, burst_written; /* when we last read from it, and what we had written to it by then */
    uint8_t burst;                    /* so many small reads in quick succession */
    uint16_t port;
    uint8_t family;
    uint8_t addr[16];
    uint32_t meta_len, cookie_len, after_pong_len;
    char *identity; /* what services that may know are told of it */
    uint32_t identity_len;
    char *meta, *cookie, *after_pong;
    /* for monitoring */
    int64_t start_ns, stop_ns; /* since 1970 */
    uint32_t acc_conns;        /* of its account, here, when it had come or gone */
    uint64_t pinged_ns, rtt_ns, stalled, unsent;
    char *about; /* user_len bytes of user, then what spl_conn_describe was given */
    uint32_t user_len, about_len;
    uint32_t peer; /* KIND_PEER: which; KIND_HANDOFF, KIND_LISTENER: unused */
    uint32_t waits_peer;
    struct feed *feed; /* NULL: the socket carries the protocol itself */
    struct conn *next_owned;
};

struct peer {
    bool up, synced, acknowledged;
    uint32_t serial;
    uint32_t missed;           /* the serial of one who spoke before we had been told of it */
    struct conn *conn;         /* the stream; NULL until it is connected: output waits in `early` */
    uint64_t acked;            /* our batches that it has applied */
    uint64_t passed;           /* the batch up to which it lacks nothing */
    uint64_t seen;             /* its batches that we have applied */
    uint64_t digest;           /* of what it announced, as we applied it */
    uint32_t *ours, nours;     /* its account id -> our id */
    uint32_t *theirs, ntheirs; /* our account id -> its id, UINT32_MAX unknown */
    struct conn *waiting;      /* producers paused until its stream drains */
};

struct control {
    struct control *next;
    uint32_t peer;
    size_t len;
    char data[];
};

/* What one subject met when it was last asked for. */
struct recent {
    const struct match *match;
    uint64_t generation;
    uint32_t serial;
};

/* A message on its way, as delivery wants it. The frame is
 *   "MSG " | subject " " | sid " " | tail, where tail = [reply " "] size CRLF payload CRLF
 * In canonical input the tail stands ready in the read buffer; otherwise head was rebuilt and body follows it. */
struct message {
    struct conn *from; /* NULL: from a peer */
    struct account *acc;
    const char *subject, *reply, *head, *body, *payload;
    uint32_t subject_len, reply_len, head_len,
        hdr_len;     /* head: "[reply ]size CRLF" (for HPUB "[reply ]hdr total CRLF") */
    size_t body_len; /* with CRLF; what follows head */
    size_t total;    /* headers and payload */
    bool with_headers;
    bool joined;                       /* head and body are contiguous */
    uint32_t line_len;                 /* not 0: head holds the headers, too; behind a control line of this length */
    const struct hop *way;             /* service.h: the accounts that it has crossed; NULL: none */
    const struct responder *responder; /* latency.h: of an answer from a peer */
    struct msgtrace *traced;           /* msgtrace.h; NULL: it is not */
    uint32_t no_echo; /* from a peer: lower half of the id of its publisher, who may be ours, if that wants no echo */
};

struct core {
    struct spl_config cfg;
    int epfd, timerfd;
    uint64_t now, timer_armed;
    struct conn **conns;
    uint32_t nconns, cap_conns, free_conn; /* free list: index + 1 */
    uint32_t *gens, *next_free;
    uint64_t *cids; /* beside conns[], so that one is found without a look at each */
    struct account **accounts;
    uint32_t naccounts;
    uint32_t *account_names, account_names_cap; /* open addressed by name: id + 1 */
    bool staging, staged; /* what is said of accounts is prepared, and not in force; something may be prepared */
    struct permissions **perms;
    uint32_t nperms;
    struct account *no_auth_acc;
    struct permissions *no_auth_perms;
    char *rbuf;      /* what is kept of a connection, and what is read behind it */
    size_t keep_max; /* a partial line or a small message is never longer */
    struct conn *dirty, *runnable, *dying, *grave;
    size_t pass_bytes;          /* read in this pass */
    uint64_t now_ns, urgent_ns; /* when somebody last sent what does not belong to a burst */
    struct sub **dead;
    uint32_t ndead, cap_dead;
    struct conn *internal;
    struct internal_sub *internal_subs;
    bool together; /* what the server itself publishes is flushed later */
    struct answers *answers;
    uint64_t last_trace; /* msgtrace.c: traced messages; those that wait for peers; what this turn's events hold */
    struct collecting *collecting, *collecting_last;
    uint32_t ncollecting;
    size_t collecting_bytes;
    size_t traced_bytes;
    struct sub **special; /* met by the message that is being delivered, and dealt with after it */
    uint32_t nspecial, cap_special;
    uint32_t crossings; /* of the message that is being delivered, from account to account */
    int64_t system_account;
    char *where; /* the server as clients' services see it: JSON */
    uint32_t where_len;
    char *staged_where;
    uint32_t staged_where_len;
    struct shown *shown;           /* import.c: the last subject of a stream import */
    struct last_asker *last_asker; /* rewrite.c: of whom a service was told last */
    uint32_t stall_ms;             /* set by delivery: the producer being served should pause this long */
    struct peer *full_peer;        /* set by delivery: the producer must wait for this peer */
    bool full_owner; /* set by delivery: the producer must wait until the owner has drained a fed connection */
    struct conn *fed_input, *fed_input_last, *fed_output, *waiting_owner; /* input: first come, first served */
    struct spl_event *events, *told; /* those that the next turn reports, and those that the last one did */
    uint32_t nevents, cap_events, cap_told;
    struct chunk *arenas, *told_arenas; /* their texts */
    struct conn **heap;
    uint32_t nheap, cap_heap;
    struct chunk *pool[4];
    uint32_t npool[4];
    struct shared_page *shared;
    struct shared_slot *slot;
    int handoff[MAX_PEERS]; /* where that worker is handed accepted sockets, or -1 */
    struct conn *listeners[8];
    uint32_t nlisteners;
    bool accepting, woken, draining;
    int debug, trace;
    uint32_t spin_luck, spin_skipped; /* how often waiting without sleeping was worth it */
    uint64_t rng;
    /* mesh */
    struct peer peers[MAX_PEERS];
    uint64_t peers_up; /* bit mask */
    uint64_t batch_seq, min_acked, digest;
    /* The last batches to those who are told all, and to those who are told of the system account; the latter's digest. */
    uint64_t told_all, told_system, system_digest;
    uint64_t starved; /* peers to whom something could not be said for want of memory: bit mask */
    uint32_t announced_accounts;
    struct conn *at_barrier;
    struct account **dirty_accounts;
    uint32_t ndirty_accounts;
    struct control *control, *control_last, *control_taken;
    struct spl_stats *stats; /* in the shared page */
    /* monitoring: connections that are gone, numbered in the order of closing */
    struct closed **ring;
    uint32_t ring_cap;
    uint64_t ring_first, ring_next;
    size_t ring_bytes;
    int64_t real_ahead; /* ns from the monotonic clock to the time of day */
};

/* conn.c */
struct conn *conn_new(struct core *k, int fd, enum kind kind);
struct conn *conn_by_handle(const struct core *k, uint64_t handle);
struct conn *conn_known(const struct core *k, uint64_t handle); /* also one that has just been closed */
static inline uint64_t conn_handle(const struct conn *c) { return (uint64_t)c->gen << 32 | c->idx; }
void conn_set_cid(struct core *k, struct conn *c, uint64_t cid);
void conn_close(struct core *k, struct conn *c, uint32_t reason);
void conn_error(struct core *k, struct conn *c, const char *text, uint32_t reason); /* -ERR, and close if reason */
void conn_bury_subs(struct core *k);   /* those that reached their maximum */
void conn_bury(struct core *k);        /* end of the turn: unlink what was marked */
void conn_empty_grave(struct core *k); /* start of the next: free it */
void conn_end_fed(struct core *k);
void conn_release_hold(struct core *k, struct conn *c, uint8_t hold);
struct sub *conn_find_sub(struct conn *c, const char *sid, size_t n, uint32_t hash);
int conn_add_sub(struct core *k, struct conn *c, struct sub *s);
void conn_drop_sub(struct core *k, struct conn *c, struct sub *s); /* unlink and free now */
void conn_drop_subs(struct core *k, struct conn *c);
void conn_ip(const struct conn *c, char out[48]);
void conn_set_permissions(struct conn *c, struct permissions *perms);
void conn_ok(struct core *k, struct conn *c);                                  /* +OK */
bool conn_keep_input(struct core *k, struct conn *c, const char *p, size_t n); /* false: out of memory, closed */

/* output.c */
char *output_more(struct core *k, struct conn *c, size_t n); /* slow path of output_room */
void output_flush(struct core *k, struct conn *c);
void output_flush_dirty(struct core *k);
void output_discard(struct core *k, struct conn *c);
void output_deadline(struct core *k, struct conn *c); /* nothing could be written for write_deadline */
void output_pool_free(struct core *k);
size_t output_pending(const struct conn *c);
void output_seal(struct conn *c);
size_t output_take(struct core *k, struct conn *c, char *to, size_t size);
void output_reopen(struct conn *c);
bool output_lags(const struct core *k, const struct conn *c);
static inline void output_mark(struct core *k, struct conn *c)
{
    if (!c->dirty) {
        c->dirty = true;
        c->next_dirty = k->dirty;
        k->dirty = c;
    }
}
/* Room for n contiguous bytes; the caller advances c->wp. NULL: the connection was closed (or has no memory). */
static inline char *output_room(struct core *k, struct conn *c, size_t n)
{
    if (likely((size_t)(c->wend - c->wp) >= n)) {
        if (unlikely(!c->dirty)) output_mark(k, c);
        return c->wp;
    }
    return output_more(k, c, n);
}
bool output_write(struct core *k, struct conn *c, const char *p, size_t n);
struct chunk *chunk_new(struct core *k, size_t n, int class);
void chunk_free(struct core *k, struct chunk *h);

/* feed.c */
void feed_ready(struct core *k, struct conn *c); /* its socket can be read */
void feed_flush(struct core *k, struct conn *c); /* there is something to translate */
void feed_write(struct core *k, struct conn *c); /* its socket can be written */
void feed_wait(struct core *k, struct conn *c);  /* pause this producer until the owner has drained */
void feed_resume(struct core *k);
void feed_free(struct core *k, struct conn *c);

/* event.c */
void events_turn(struct core *k, struct spl_event **events, uint32_t *n); /* hand out what was pushed so far */
void events_begin(struct core *k);                                        /* forget the texts that were handed out */
void events_free(struct core *k);
void event_push(struct core *k, uint32_t type, struct conn *c, uint32_t reason, const char *data, size_t len);
bool event_message(struct core *k, uint32_t tag, struct spl_parts parts); /* copies them; false: no memory */
void event_traced(struct core *k, uint32_t account, struct spl_parts parts, const char *steps, size_t n);
void event_log(struct core *k, struct conn *c, uint32_t level, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* trace.c */
bool trace_full(const struct core *k); /* this turn has had enough of it */
void trace_in(struct core *k, struct conn *c, const char *verb, const char *args, size_t n);
void trace_out(struct core *k, struct conn *c, const char *verb, const char *args, size_t n);
void trace_payload(struct core *k, struct conn *c, bool in, const char *payload, size_t n, size_t headers);

/* timer.c */
void timer_set(struct core *k, struct conn *c); /* after changing one of c's deadlines */
void timer_drop(struct core *k, struct conn *c);
void timer_run(struct core *k);
void timer_arm(struct core *k);
void timer_soon(struct core *k);                /* make the next turn come at once */
void conn_ping(struct core *k, struct conn *c); /* its PONG will say how far away it is */

/* account.c */
bool account_bind(struct core *k, struct conn *c, struct account *a); /* false: it is full; the client was told */
void account_leave(struct conn *c);
bool account_may_log(struct core *k, struct account *a);
void account_limits(struct core *k, struct conn *c); /* what holds for c: the least of all limits */

/* core.c */
void end_of_command(struct core *k); /* outside a turn: flush, and make the next turn come if there is more */
void core_use_page(struct core *k, void *page); /* the shared page is there */

/* parse.c */
size_t client_parse(struct core *k, struct conn *c, const char *buf, size_t n);
void client_pongs(struct core *k, struct conn *c); /* pong_at has come */

/* deliver.c */
void deliver_publish(struct core *k, struct conn *c, struct message *m);
void deliver_traced(struct core *k, struct conn *c, struct message *m); /* the same of one that is traced */
bool deliver_allowed(struct conn *c, const char *subject, size_t n);    /* may it publish there? */
void deliver_refused(struct core *k, struct conn *c, const char *subject, size_t n);
bool deliver_message(struct core *k, struct message *m); /* within m->acc, to all; whether anybody got it */
bool deliver_again(struct core *k, struct message *m, struct recent *last); /* the same, if subjects repeat */
void deliver_from_peer(struct core *k, struct message *m, const char *queues, uint32_t nqueues, bool queue_only,
                       uint64_t tried);

/* monitor.c */
void monitor_closed(struct core *k, struct conn *c);
void monitor_count_out(struct core *k, struct conn *c);
void monitor_count_shadow(struct core *k, struct conn *c, struct account *exporter, uint64_t bytes);
void monitor_free(struct core *k);
int64_t clock_real_ns(void);

/* responses.c */
void responses_grant(struct conn *c, const char *reply, size_t n, uint64_t now);
bool responses_use(struct conn *c, const char *subject, size_t n, uint64_t now);
void responses_free(struct conn *c);

/* mesh.c, interest.c, records.c */
size_t mesh_parse(struct core *k, struct conn *c, const char *buf, size_t n);
void mesh_send(struct core *k, uint32_t peer, const struct message *m, struct match_group **queues, uint32_t nqueues,
               bool queue_only, uint64_t tried);
void mesh_interest_changed(struct core *k, struct account *a);
void mesh_flush_interest(struct core *k);
void mesh_repair(struct core *k);
void mesh_stream_lost(struct core *k, struct conn *c);
void mesh_accept(struct core *k, struct conn *listener);
void mesh_free(struct core *k);
struct account *account_get(struct core *k, uint32_t id);

/* reactor.c */
void reactor_watch(struct core *k, struct conn *c);
void reactor_close_fd(struct core *k, struct conn *c);
void reactor_runnable(struct core *k, struct conn *c);
void reactor_rest(struct core *k, struct conn *listener);
void reactor_input(struct core *k, struct conn *c, const char *p, size_t n); /* parse, keep the rest */
uint64_t clock_ms(void);
uint64_t clock_ns(void);
static inline uint64_t random_next(struct core *k)
{
    k->rng ^= k->rng << 13, k->rng ^= k->rng >> 7, k->rng ^= k->rng << 17;
    return k->rng;
}
static inline uint32_t random_below(struct core *k, uint32_t n)
{
    return (uint32_t)(((random_next(k) >> 32) * n) >> 32);
}
#endif
