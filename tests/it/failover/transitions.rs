//! Ten thousand changes of state leave nothing behind.

use std::os::unix::net::UnixStream;

use crate::api::{call, try_exchange};
use crate::harness::proxy::Setup;
use crate::harness::{Fleet, Raw};

/// The growth that is allowed, in bytes: buffers that are kept once.
const GROWTH_MAX: f64 = 8e6;
/// The further descriptors that are allowed.
const DESCRIPTORS_MAX: f64 = 20.0;

#[test]
fn ten_thousand_transitions_leave_nothing_behind() {
    let fleet = Fleet::of(3);
    let quiet = format!("[access_log]\nsink = \"off\"\n{}", fleet.rules("", ""));
    let proxy = Setup::default().start_alone(&quiet);
    let mut client = Raw::connect(proxy.address);
    let path = |act: &str| format!("/v1/upstreams/main/endpoints/{}/{act}", fleet.address(0));
    let mut round = |count: usize| {
        for n in 0..count {
            for act in ["eject", "admit"] {
                let request = call("POST", &path(act), "", "{\"reason\":\"a test\"}");
                let stream = UnixStream::connect(proxy.socket()).unwrap();
                let reply = try_exchange(stream, &request).expect("a reply");
                assert_eq!(reply.status, 200, "{n}, {act}: {}", reply.body);
            }
            assert_eq!(client.get("/", "").status, 200, "{n}");
        }
    };
    round(500);
    let figures = || (proxy.metric("process_resident_memory_bytes"), proxy.metric("process_open_fds"));
    let before = figures();
    round(5_000);
    let after = figures();
    assert!(after.0 - before.0 < GROWTH_MAX, "{} bytes more", after.0 - before.0);
    assert!(after.1 - before.1 < DESCRIPTORS_MAX, "{} descriptors more", after.1 - before.1);
}
