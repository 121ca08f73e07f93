/* spline.h: the only face of the data plane.
 *
 * A core is one worker's data plane: its connections, accounts, sublists, links to peer workers, and one epoll set that serves
 * them all. The owner watches spl_fd() and calls spl_turn() when it is readable; the turn serves every ready socket within a
 * budget and returns the few events that need policy. Connections are named by handles that are never reused.
 * Nothing here is thread safe: one thread owns a core. No call blocks, except spl_turn() for its `linger`.
 * This part of the file, between the markers, is also what cffi reads: plain declarations only.
 */
#ifndef SPLINE_H
#define SPLINE_H
#include <stddef.h>
#include <stdint.h>
/* cdef-begin */

typedef struct core spl_core;
typedef struct permissions spl_perms;
typedef struct transform spl_transform;

/* The settings of a core. Sizes in bytes, times in milliseconds. */
struct spl_config {
    uint32_t index, serial, workers; /* this worker, its start number, how many there are */
    int gateway;       /* there is a gateway process: as a peer, and as an index, it is number `workers` */
    uint32_t accounts; /* places for accounts' counters in the shared page */
    uint32_t max_control_line, max_subscriptions, max_sub_tokens; /* 0 = no limit for the last two */
    int64_t max_payload;                                          /* -1 = no limit */
    int64_t max_connections, max_pending;
    uint32_t ping_interval, ping_max, write_deadline, auth_timeout;
    uint32_t cache_entries;
    uint32_t max_closed;          /* connections that are remembered when they are gone */
    uint32_t max_traced;          /* bytes of a payload that a trace shows, 0 = all */
    int trace_headers;            /* a trace shows the headers of a message, and nothing else of it */
    int headers;                  /* the server supports headers */
    int auth_required;            /* the first verb must be CONNECT */
    int no_stall;                 /* no_fast_producer_stall */
    uint32_t spin_us;             /* how long to look for more work before sleeping; 0: not at all */
    int shared_fd;                /* the page shared by all workers, or -1 */
    char write_deadline_text[32]; /* how the log calls it */
};

enum spl_event_type {
    SPL_ACCEPTED = 1, /* a client connected; answer with spl_conn_start */
    SPL_CONNECT,      /* CONNECT arrived (data: its JSON); answer with spl_conn_accept or spl_conn_reject */
    SPL_CLOSED,       /* a client is gone: reason */
    SPL_LOG,          /* data: text about the connection, reason: 0 error, 1 debug, 2 trace, 3 warning, 4 info */
    SPL_PEER_LOST,    /* the stream to peer `reason` broke */
    SPL_INFO,         /* INFO came from a client (data: its JSON); answer with spl_conn_resume or spl_conn_reject */
    SPL_MESSAGE,      /* for a subscription of the server's own: reason is its tag */
    SPL_GUEST,        /* a client whose first verb was not CONNECT was bound to the user of spl_no_auth */
    SPL_LATENCY,      /* a request was measured (data: struct spl_latency); reason is the exporter's account */
    SPL_TRACED /* a message was traced. data: its steps; message: where they are to be published, the headers it came
                       * with; reason: the publisher's account */
};

/* What became of a traced message: steps, each followed by its texts and padded to a multiple of 8 bytes (size: of all that). */
enum spl_step_type {
    SPL_STEP_IN = 1, /* a client published it: cid, bytes, account, subject, about */
    SPL_STEP_ERROR,  /* that was an error: other */
    SPL_STEP_MAPPED, /* other: the new subject */
    SPL_STEP_EXPORT, /* a stream import of account shows it as `other` */
    SPL_STEP_IMPORT, /* it crosses into account: from subject to `other` */
    SPL_STEP_OUT     /* to a client: cid, account, about; its subscription: subject, other (the queue) */
};
enum spl_step_error {
    SPL_STEP_DONE,
    SPL_STEP_NO_ECHO,
    SPL_STEP_DENIED,  /* the subscription must not have this subject */
    SPL_STEP_CLOSED,  /* the client has gone */
    SPL_STEP_TOO_SLOW /* and the publisher does not wait for it */
};
struct spl_step { /* texts follow: account, subject, other, about (what spl_conn_describe was given) */
    uint32_t size, type, error, account_len, subject_len, other_len, about_len, spare;
    int64_t at_ns; /* since 1970 */
    uint64_t cid, bytes;
};

struct spl_latency {  /* texts follow: subject of the results, requestor and responder (JSON), header lines */
    int64_t start_ns; /* since 1970 */
    uint64_t service_ns, system_ns, total_ns;
    uint32_t status, results_len, requestor_len, responder_len, headers_len, spare;
};

struct spl_parts { /* of a message; headers: the whole block with its blank line, or none */
    const char *subject, *reply, *headers, *payload;
    uint32_t subject_len, reply_len, headers_len, payload_len;
};

struct spl_event {
    uint32_t type, reason;
    uint64_t conn, cid;
    const char *data; /* valid until the next spl_turn */
    uint32_t len, port;
    char ip[48];
    struct spl_parts message; /* SPL_MESSAGE */
};

struct spl_conn_info {
    uint64_t cid, in_msgs, in_bytes, out_msgs, out_bytes, pending;
    int64_t start_ns;
    uint32_t subs, port, meta_len, cookie_len, flags;
    int account; /* -1: none yet */
    char ip[48];
    const char *meta;   /* what spl_conn_accept was given */
    const char *cookie; /* what spl_conn_start was given */
};

struct spl_stats {
    uint64_t connections, total_connections, subscriptions, in_msgs, in_bytes, out_msgs, out_bytes;
    uint64_t slow_consumers, stalls, mesh_in, mesh_out, mesh_forwarded, interest_drift, interest_batches, barrier_waits;
    uint64_t refused, accepted_for_others, stale_connections;
};

/* NULL: out of memory or descriptors (errno). */
spl_core *spl_new(const struct spl_config *config);
void spl_free(spl_core *core);
int spl_fd(const spl_core *core);
/* Serve what is ready. Waits up to `linger_us` for more after having found work; returns at once when it has events or a watched
 * descriptor is readable. Returns the number of events, their address in *events. */
int spl_turn(spl_core *core, int linger_us, struct spl_event **events);
/* A descriptor of the owner's whose readability ends a lingering turn. 0 or -errno. */
int spl_watch(spl_core *core, int fd);
void spl_unwatch(spl_core *core, int fd);
/* Say in the shared page that this worker lives. May leave control messages to be sent. */
void spl_beat(spl_core *core);

/* Client listeners and the channels by which workers hand each other accepted sockets. 0 or -errno. */
int spl_listen(spl_core *core, int fd);
int spl_handoff(spl_core *core, uint32_t worker, int receive_fd, int send_fd);
int spl_accepting(spl_core *core, int on);

/* Accounts are named by their position: the first is 0. Returns the id, or -1. */
int spl_account(spl_core *core, const char *name, size_t len);
/* The server's own subscriptions and messages, without limits and permissions. 0 or -1. */
int spl_subscribe(spl_core *core, int account, uint32_t tag, const char *subject, size_t len);
void spl_unsubscribe(spl_core *core, int account, uint32_t tag);
int spl_publish(spl_core *core, int account, const struct spl_parts *parts); /* 1: somebody may have it, 0: nobody */
/* From here on, until it is called with 0, what is published is sent together at the end. No turn may be taken meanwhile. */
void spl_together(spl_core *core, int on);
/* Would somebody else get what is published on this subject? */
int spl_interest(spl_core *core, int account, const char *subject, size_t len);
/* Another set of accounts' tables. Between begin and commit, what is said of accounts (all below, up to spl_system_account) is only
 * prepared, beside what is in force; commit replaces all of it at once and cannot fail: what was not said again is gone. */
void spl_accounts_begin(spl_core *core);
/* Leave the preparations for a while (what is said meanwhile is in force at once), or go on with them. */
void spl_accounts_stage(spl_core *core, int on);
int spl_accounts_ready(spl_core *core); /* all has been said: 0, or -1 (no memory) */
void spl_accounts_abort(spl_core *core);
void spl_accounts_commit(spl_core *core);
/* This account's stream imports stay what they are. 0 or -1. */
int spl_streams_stay(spl_core *core, int account);
/* The shared page has been made larger, for the counters of so many accounts: look at all of it. 0 or -1. */
int spl_accounts_room(spl_core *core, uint32_t accounts);
/* Limits of an account, -1: none. `place` (less than accounts): of its counters in the shared page, the same on every worker. It is
 * taken at once, and once: an account keeps it. 0 or -1. */
int spl_account_limits(spl_core *core, int account, uint32_t place, int64_t max_connections, int64_t max_subscriptions,
                       int64_t max_payload);
/* Transforms of subjects: steps of the kinds in transform.h, then, from token `rest` of the source on (-1: not), its other
 * tokens. A transform belongs to whoever made it until it is given to an account. 0 or -1. */
spl_transform *spl_transform_new(int64_t rest);
void spl_transform_free(spl_transform *transform);
int spl_transform_step(spl_transform *transform, int kind, const char *text, size_t len, const uint32_t *tokens,
                       size_t ntokens, int64_t number);
/* Subject mappings: an entry, then its destinations, each up to so many percent of the entry's messages. 0 or -1. */
int spl_mapping(spl_core *core, int account, const char *source, size_t len);
int spl_mapping_to(spl_core *core, int account, spl_transform *to, uint32_t upto);
/* A stream import: `to` is the importer's pattern. `show` makes the importer's subject of the exporter's, `find` the other way round
 * (for patterns, too); both NULL if they are the same. `traced`: messages may be traced beyond it. Before there are subscriptions, or
 * prepared. 0 or -1. */
int spl_stream_import(spl_core *core, int importer, int exporter, const char *to, size_t to_len, spl_transform *show,
                      spl_transform *find, int traced);
/* Services. An export has a number within its account; `streamed` answers end with an empty one; threshold 0: the default;
 * `traced`: requests may be traced beyond it. An import's `target` makes the exporter's subject of the local one (NULL: it is the same). The number, 0, or -1. */
int spl_service_export(spl_core *core, int account, int streamed, uint64_t threshold_ms, int traced);
int spl_service_import(spl_core *core, int importer, int exporter, int number, const char *local, size_t len,
                       spl_transform *target, int share);
/* Measure the requests to an export (not `streamed`): so many percent of them, and those that ask for it by a header. `results`
 * is where the owner publishes the SPL_LATENCY events of it; `server` is 8 bytes that stand for us. 0 or -1. */
int spl_service_latency(spl_core *core, int account, int number, const char *results, size_t len, uint32_t percent,
                        const char *server);
/* Where so many percent of the messages that their publishers' `traceparent` header calls sampled are traced to; len 0: nowhere. 0
 * or -1. */
int spl_account_trace(spl_core *core, int account, const char *dest, size_t len, uint32_t percent);
/* Number the server's messages: it grows as long as the server runs. */
uint64_t spl_next_message(spl_core *core);
/* Which account is the system account; to be said before anybody subscribes. */
void spl_system_account(spl_core *core, int account);
/* JSON for the header Nats-Request-Info: an account's name; the server, and what a client has said of itself (both with a comma in
 * front). What its connection shows is added by the core. 0 or -1. */
int spl_account_label(spl_core *core, int account, const char *json, size_t len);
int spl_where(spl_core *core, const char *json, size_t len);
int spl_conn_identity(spl_core *core, uint64_t conn, const char *json, size_t len);
/* Permission sets; list: 0 publish allow, 1 publish deny, 2 subscribe allow, 3 subscribe deny. Freed with the core, or when it was
 * dropped and no connection has it any more. */
spl_perms *spl_perms_new(spl_core *core);
int spl_perms_add(spl_perms *perms, int list, const char *subject, size_t len, const char *queue, size_t queue_len);
void spl_perms_responses(spl_perms *perms, int64_t max, int64_t expires_ms);
void spl_perms_drop(spl_core *core, spl_perms *perms);
/* The user for connections whose first verb is not CONNECT (no_auth_user); account -1: there is none. */
void spl_no_auth(spl_core *core, int account, spl_perms *perms);

enum spl_conn_flags {
    SPL_BOUND = 1,
    SPL_CONNECTED = 2,
    SPL_PONGED = 4
}; /* bound; had its CONNECT; had its first PONG */
enum spl_connect_flags {
    SPL_VERBOSE = 1,
    SPL_PEDANTIC = 2,
    SPL_ECHO = 4,
    SPL_HEADERS = 8,
    SPL_NO_RESPONDERS = 16,
    SPL_LATE_PONG = 32
};
/* Send the INFO line and let the client in (or refuse it because the server is full). `cookie`: kept for the owner. 0, or -1: gone. */
int spl_conn_start(spl_core *core, uint64_t conn, const char *info, size_t info_len, const char *cookie,
                   size_t cookie_len);
/* Bind a connection whose CONNECT was found good. `after_pong` follows the first PONG; `meta` is kept for the owner. */
int spl_conn_accept(spl_core *core, uint64_t conn, int account, spl_perms *perms, uint32_t flags, const char *meta,
                    size_t meta_len, const char *after_pong, size_t after_pong_len);
/* Send `-ERR '<text>'` (none if len is 0) and close with `reason`. */
int spl_conn_reject(spl_core *core, uint64_t conn, uint32_t reason, const char *text, size_t len);
/* Go on with a connection that waits for an answer to SPL_INFO. 0, or -1: gone. */
int spl_conn_resume(spl_core *core, uint64_t conn);
int spl_conn_get(spl_core *core, uint64_t conn, struct spl_conn_info *out);
/* The handle of the client with this number, 0: there is none. */
uint64_t spl_conn_find(const spl_core *core, uint64_t cid);

/* Fed connections: the owner translates between the wire and the protocol (TLS, WebSocket), the core does all the rest.
 * Turn a connection into one (or, `on` = 0, back) between SPL_ACCEPTED and spl_conn_start. 0, or -1: gone. */
int spl_conn_feed(spl_core *core, uint64_t conn, int on);
/* May it come in? For connections that are sent something before spl_conn_start. 0, or -1: it is being told that the server is full. */
int spl_conn_admit(spl_core *core, uint64_t conn);
/* May another handshake begin, of `limit` a second over all workers? 1 or 0. */
int spl_handshake_allowed(spl_core *core, uint32_t limit);
/* After every turn: take the names of up to `max` connections that have input to translate (then for each spl_receive and
 * spl_feed), or output (then for each spl_drain until 0, and spl_send). Returns how many; ask until it is 0, and for output last:
 * asking for it also flushes what was fed. When SPL_CLOSED is told, spl_drain and spl_send work a last time; it is hung up when
 * there is no output left to ask for. */
size_t spl_fed_input(spl_core *core, uint64_t *conns, size_t max);
size_t spl_fed_output(spl_core *core, uint64_t *conns, size_t max);
/* Bytes from the wire, up to `size`, left there if `peek`. 0: no more for now; -1: the connection is gone. */
int64_t spl_receive(spl_core *core, uint64_t conn, char *to, size_t size, int peek);
/* Protocol bytes, up to 256 KiB, as if they had been read. 0, or -1: the connection is gone. */
int spl_feed(spl_core *core, uint64_t conn, const char *data, size_t len);
/* Output to translate; 0 if there is none, or if the wire takes no more for now. */
size_t spl_drain(spl_core *core, uint64_t conn, char *to, size_t size);
/* Bytes to the wire; what it does not take waits in the core. 0, or -1: the connection is gone. */
int spl_send(spl_core *core, uint64_t conn, const char *data, size_t len);
void spl_close_clients(spl_core *core, uint32_t reason);

/* Change. Take over new settings (all but index, serial, workers, cache_entries, max_closed, spin_us, shared_fd and the limits of subscriptions and of pending
 * bytes), for connections that are there and those that will come. */
void spl_configure(spl_core *core, const struct spl_config *config);
/* Walk over the clients: the one after `after` (0: the first), 0 = no more. Any of them may be closed meanwhile. */
uint64_t spl_conn_next(const spl_core *core, uint64_t after);
/* Give a client other permissions. It loses the subscriptions that they forbid, is told so, and the log is told that `who` lost them. */
int spl_conn_permit(spl_core *core, uint64_t conn, spl_perms *perms, const char *who, size_t len);
/* Send a protocol line (INFO) to a client that has had its first PONG, or with that PONG. 0, or -1: gone. */
int spl_conn_tell(spl_core *core, uint64_t conn, const char *line, size_t len);
/* Close the listeners for good. */
void spl_unlisten(spl_core *core);
void spl_set_trace(spl_core *core, int debug, int trace);

/* The mesh. Streams carry messages and belong to the core; control messages are carried by the owner (ZeroMQ): what
 * spl_control_next hands out goes to that peer, what arrives is given to spl_control. */
int spl_mesh_listen(spl_core *core, const char *path);
int spl_peer_up(spl_core *core, uint32_t peer, uint32_t serial, const char *path);
void spl_peer_down(spl_core *core, uint32_t peer, uint32_t serial);
int spl_control_next(spl_core *core, uint32_t *peer, const char **data, size_t *len); /* 1 or 0 (none) */
/* 0; 1: the peer's interest as we knew it had drifted from the truth (a snapshot is under way); -1: malformed */
int spl_control(spl_core *core, const char *data, size_t len);
int spl_mesh_joined(const spl_core *core);  /* every peer's interest is here, and ours is there */
int spl_mesh_flushed(const spl_core *core); /* all messages to peers are in the kernel's hands */
/* The batch that tells peers all that has changed until now; and: have they all acknowledged it? */
uint64_t spl_interest_mark(const spl_core *core);
int spl_interest_known(const spl_core *core, uint64_t mark);

/* What a worker (or the gateway) has counted, with what its predecessors had; its process id. */
void spl_get_stats(const spl_core *core, uint32_t worker, struct spl_stats *out);
uint32_t spl_worker_pid(const spl_core *core, uint32_t worker);

/* Monitoring. Each call does a bounded amount of work; positions say where to go on and begin as zeros. A position stays valid
 * while connections come and go. Records are told in one buffer, `size` bytes from one to the next, their texts behind them. */
enum spl_states { SPL_OPEN = 1, SPL_GONE = 2 };
enum spl_sort {
    SPL_SORT_CID,
    SPL_SORT_SUBS,
    SPL_SORT_PENDING,
    SPL_SORT_OUT_MSGS,
    SPL_SORT_IN_MSGS,
    SPL_SORT_OUT_BYTES,
    SPL_SORT_IN_BYTES,
    SPL_SORT_LAST,
    SPL_SORT_IDLE,
    SPL_SORT_UPTIME,
    SPL_SORT_STOP,
    SPL_SORT_RTT
};
struct spl_select { /* which connections: those for which everything that is asked for is so */
    uint32_t states, sort;
    int64_t account; /* id, -1: any */
    uint64_t cid;    /* 0: any */
    const char *user;
    uint32_t user_len; /* 0: any */
    uint32_t want;     /* at most so many keys from each call */
    int64_t now_ns;    /* since 1970: by which ages are compared */
    uint64_t at;
    uint64_t total; /* added up: those in these states and this account */
    int done;
};
struct spl_key { /* ascending order of keys is the order that was asked for */
    uint64_t key, cid, handle;
    int64_t stop_ns; /* 0: open */
    uint64_t reason;
};
enum { SPL_SELECT_MOST = 4096 };                                                /* `keys` has room for so many */
int spl_select(spl_core *core, struct spl_select *query, struct spl_key *keys); /* the number of keys, sorted */

enum { SPL_RECORD_CONN = 1, SPL_RECORD_SUB = 2, SPL_RECORD_ANSWER = 3 };
struct spl_conn_record { /* account, user and about follow; times are ns since 1970 */
    uint32_t size, kind;
    uint64_t cid, in_msgs, in_bytes, out_msgs, out_bytes, pending, stalls, rtt_ns;
    int64_t start_ns, last_ns, stop_ns; /* stop_ns 0: open */
    uint32_t nsubs, reason, port, account_len, user_len, about_len;
    char ip[48];
};
struct spl_sub_record { /* subject, queue, sid and account follow */
    uint32_t size, kind;
    uint64_t cid, msgs, max;
    uint32_t subject_len, queue_len, sid_len, account_len;
};
struct spl_place {
    uint32_t index, sub;
};
/* What monitoring shows of a connection beyond its counters: its user, and a text that only the owner understands. 0 or -1. */
int spl_conn_describe(spl_core *core, uint64_t conn, const char *user, size_t user_len, const char *about,
                      size_t about_len);
/* Records of the connections `handles` (of those that are still known) and of their subscriptions. Done when at->index is n.
 * `buf` (8-aligned) must have room for one connection's. Returns how much of it is filled. */
size_t spl_records(spl_core *core, const uint64_t *handles, uint32_t n, int subs, struct spl_place *at, char *buf,
                   size_t cap);

/* The record of one connection, also while its SPL_CLOSED is being handled; *conns: how many connections its account had here after
 * it had come or gone. Returns the record's size, which is in `buf` (8-aligned) if it has room for it; 0: the connection is gone. */
size_t spl_conn_record(spl_core *core, uint64_t conn, uint32_t *conns, char *buf, size_t cap);

/* The subscriptions of an account (-1: all) that match the subject `test` (if any), or, if it is a pattern and `within` is set, ask
 * for no more than it does; in a queue group, if one is named. */
struct spl_subs {
    int64_t account;
    const char *test, *queue;
    size_t test_len, queue_len;
    int within;
    uint64_t offset, limit; /* which of them get a record */
    uint64_t total;         /* added up: how many there are */
    struct spl_place at;
    int done;
};
size_t spl_subs(spl_core *core, struct spl_subs *query, char *buf, size_t cap);

struct spl_account_info {
    const char *name;
    size_t name_len;
    uint64_t conns, subs, in_msgs, in_bytes, out_msgs, out_bytes, slow_consumers;
    uint64_t shadows; /* subscriptions for stream imports of others */
    uint64_t asked;   /* on how many workers has another account waited for an answer from here? */
    /* Of its sublist; `*_fanout` over the cached results. `own`: the server's subscriptions, which no other number counts. */
    uint64_t inserts, removes, matches, cache_hits, cache_entries, max_fanout, sum_fanout, own;
};
/* The id of an account that exists, or -1. */
int spl_account_find(const spl_core *core, const char *name, size_t len);
/* 0, or -1: there is no account with this id, nor with a higher one. */
int spl_account_get(spl_core *core, uint32_t id, struct spl_account_info *out);
/* What all workers have counted of the account at `place` of the shared page. 0, or -1: there is no such place. */
int spl_account_total(const spl_core *core, uint32_t place, struct spl_account_info *out);
/* The same of one worker. */
int spl_account_part(const spl_core *core, uint32_t worker, uint32_t place, struct spl_account_info *out);

enum spl_answer_flags { SPL_ANSWER_SHARE = 1, SPL_ANSWER_TRACKED = 2 };
struct spl_answer_record { /* name, reply and the requester's account follow */
    uint32_t size, kind;
    uint32_t name_len, reply_len, account_len, flags; /* of spl_answer_flags */
};
struct spl_answers { /* of the services of an account: answers that somebody waits for */
    uint32_t account, bucket;
    int done;
};
/* Records of them; one may come twice, none is left out that was there all the time. Returns how much of `buf` is filled; if that is 0
 * and query->bucket is as before, `cap` is too small. */
size_t spl_answers(spl_core *core, struct spl_answers *query, char *buf, size_t cap);

/* Up to SPL_SNAPPY_DATA bytes as a chunk of Snappy's framing format. Its length; `out` must have room for SPL_SNAPPY_ROOM. */
enum { SPL_SNAPPY_DATA = 65536, SPL_SNAPPY_ROOM = 8 + 32 + 65536 + 65536 / 6 };
size_t spl_snappy(const char *data, size_t n, char *out);
/* cdef-end */
#endif
