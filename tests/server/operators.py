"""A server with operators and accounts, and every subject that the system account listens to."""

from __future__ import annotations

from typing import Final

CONFIG: Final = """server_name: req-1
server_tags: ["az:1", "Role:DB"]
system_account: SYS
accounts {
  SYS { users: [ { user: sys, password: sys }
                 { user: sys2, password: sys2, permissions: { subscribe: { deny: zzz } } } ] }
  APP {
    users: [ { user: app, password: app }
             { user: lim, password: lim, permissions: {
                 publish: { allow: ["a.>", "$SYS.REQ.>"], deny: "d" }
                 subscribe: ["_INBOX.>", "q"]
                 allow_responses: { max: 3, expires: "1m" } } } ]
    exports: [ { service: svc.a }, { service: svc.b, response_type: stream, accounts: [OTH] }, { stream: "st.>" } ]
    mappings { m.a: m.b, w.x: [ { destination: w.y, weight: 30% }, { destination: w.z, weight: 60% } ] }
  }
  OTH {
    users: [ { user: oth, password: oth } ]
    imports: [ { service: { account: APP, subject: svc.a }, to: my.svc, share: true }
               { stream: { account: APP, subject: "st.>" }, prefix: p } ]
  }
  EMPTY { }
}
"""
PING: Final = "$SYS.REQ.SERVER.PING"
ACCOUNT: Final = "$SYS.REQ.ACCOUNT"
ENDPOINTS: Final = (
    "VARZ SUBSZ CONNZ ROUTEZ GATEWAYZ LEAFZ ACCOUNTZ JSZ HEALTHZ PROFILEZ EXPVARZ IPQUEUESZ RAFTZ".split()
)
OF_ACCOUNT: Final = ("SUBSZ", "CONNZ", "LEAFZ", "JSZ", "INFO", "STATZ", "CONNS")
SYSTEM_SUBJECTS: Final = [
    PING,
    *(f"$SYS.REQ.SERVER.{where}.{name}" for where in ("PING", "<id>") for name in (*ENDPOINTS, "STATSZ", "IDZ")),
    *(f"$SYS.REQ.SERVER.<id>.{name}" for name in ("RELOAD", "KICK", "LDM")),
    *(f"{ACCOUNT}.{acc}.{name}" for acc in ("APP", "OTH") for name in OF_ACCOUNT),
    *(f"{ACCOUNT}.PING.{name}" for name in ("SUBSZ", "LEAFZ", "JSZ", "INFO")),
    f"{ACCOUNT}.PING.STATZ",
    f"{ACCOUNT}.NSUBS",
    "$SYS.REQ.USER.APP.INFO",
    "$SYS.REQ.USER.OTH.INFO",
    "$SYS.DEBUG.SUBSCRIBERS",
]  # fmt: skip
