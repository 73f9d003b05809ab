//! How much is copied to a failing shadow, and how it recovers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{SHADOWED, setup};
use crate::harness::{Proxy, Raw, RefusingAddress, Upstream, until};

const FLOOR: f64 = 0.01;

fn impatient() -> String {
    SHADOWED.replace("methods =", "timeout = \"100ms\"\nmethods =")
}

/// Sends some requests, and returns the share that is copied then.
fn share_after_requests(proxy: &Proxy, client: &mut Raw) -> f64 {
    for _ in 0..20 {
        assert_eq!(client.get("/", "").status, 200);
    }
    proxy.metric_sum("pointsman_shadow_weight_actual_ratio")
}

fn falls_to_the_floor_and_stays_there(proxy: &Proxy, client: &mut Raw) {
    until("the share is at the floor", || (share_after_requests(proxy, client) < FLOOR + 1e-4).then_some(()));
    for _ in 0..40 {
        let share = share_after_requests(proxy, client);
        assert!((share - FLOOR).abs() < 1e-4, "{share}: no copy has succeeded");
    }
}

fn recovers(proxy: &Proxy, client: &mut Raw) {
    until("the share grows", || (share_after_requests(proxy, client) > 2.0 * FLOOR).then_some(()));
}

#[test]
fn a_hanging_shadow_gets_few_copies_until_it_answers() {
    let well = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&well);
    let dark = Upstream::script(move |mut conn| {
        while conn.request().is_ok() {
            if !answers.load(Ordering::Acquire) {
                return conn.wait();
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let main = Upstream::echo();
    let proxy = setup(&main, &dark).start(&impatient());
    let mut client = proxy.connect();
    falls_to_the_floor_and_stays_there(&proxy, &mut client);
    well.store(true, Ordering::Release);
    recovers(&proxy, &mut client);
}

#[test]
fn a_refusing_shadow_gets_few_copies_until_it_accepts() {
    let (main, there) = (Upstream::echo(), Upstream::echo());
    let gone = RefusingAddress::new();
    let text = impatient();
    let [refusing, answering] = [gone.address(), there.address()].map(|dark| text.replace("{dark}", &dark.to_string()));
    let proxy = Proxy::with("main", &main).place("scheme", "http").start(&refusing);
    let mut client = proxy.connect();
    falls_to_the_floor_and_stays_there(&proxy, &mut client);
    proxy.rewrite(&answering);
    recovers(&proxy, &mut client);
}
