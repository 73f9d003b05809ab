//! Endpoints of an earlier list are found.

use std::cell::Cell;

use super::*;

fn endpoint(at: u32, weight: u32) -> EndpointState {
    let [.., b, c, d] = at.to_be_bytes();
    EndpointState {
        address: SocketAddr::from(([10, b, c, d], 80)),
        protocol: Protocol::Http1,
        weight,
        role: EndpointRole::Primary,
        tls: None,
        name: "an endpoint".into(),
        looked_up: None,
        health: Arc::default(),
    }
}

#[test]
fn endpoints_of_a_long_list_are_found_in_linear_time() {
    const COUNT: usize = 10_000;
    let old: Vec<EndpointState> = (0..10_000).map(|at| endpoint(at, 1)).collect();
    let looks = Cell::new(0);
    let index = EndpointIndex::new(EndpointIdentity::Settings, COUNT, |at| {
        looks.set(looks.get() + 1);
        &old[at]
    });
    // Each moves by one place: the worst that an edit does.
    for (at, one) in old.iter().enumerate() {
        assert_eq!(index.find(at + 1, one), Some(at));
    }
    assert!(looks.get() <= 4 * COUNT, "{} looks", looks.get());
    assert_eq!(index.find(3, &endpoint(7, 2)), None, "another weight");
    assert_eq!(index.find(3, &endpoint(20_000, 1)), None);
}

#[test]
fn an_address_that_is_listed_twice_is_found_by_the_rest() {
    let health: Arc<EndpointHealth> = Arc::default();
    let one = |weight| EndpointState { health: Arc::clone(&health), ..endpoint(1, weight) };
    let old = [one(1), one(2), one(3)];
    let index = EndpointIndex::new(EndpointIdentity::Settings, old.len(), |at| &old[at]);
    assert_eq!([3, 2, 1].map(|weight| index.find(9, &one(weight))), [Some(2), Some(1), Some(0)]);
}

#[test]
fn an_address_that_is_listed_often_with_other_weights_is_found_in_linear_time() {
    const COUNT: u32 = 3_000;
    let health: Arc<EndpointHealth> = Arc::default();
    let old: Vec<_> =
        (1..=COUNT).map(|weight| EndpointState { health: Arc::clone(&health), ..endpoint(1, weight) }).collect();
    let looks = Cell::new(0);
    let index = EndpointIndex::new(EndpointIdentity::Settings, old.len(), |at| {
        looks.set(looks.get() + 1);
        &old[at]
    });
    for (at, one) in old.iter().enumerate() {
        assert_eq!(index.find(at + 1, one), Some(at));
    }
    assert!(looks.get() <= 4 * old.len(), "{} looks", looks.get());
}

#[test]
fn connections_do_not_depend_on_weight_and_role() {
    let old = [endpoint(1, 1), endpoint(2, 1)];
    let index = EndpointIndex::new(EndpointIdentity::Connections, old.len(), |at| &old[at]);
    let other =
        EndpointState { role: EndpointRole::Backup, weight: 7, health: Arc::clone(&old[1].health), ..endpoint(2, 1) };
    assert_eq!((index.find(1, &other), index.find(0, &other)), (Some(1), Some(1)));
    assert_eq!(index.find(1, &endpoint(2, 1)), None, "another health");
}
