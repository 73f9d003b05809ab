//! The cost of a comparison of two responses: JSON of three sizes, equal in bytes, equal in meaning, and different.
//!
//! `cargo bench --bench answers`. The time should grow with the size and no faster.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pointsman::compare::{BodyView, Criteria, ExchangeOutcome, Pattern, ResponseView};

/// A page of orders, of at least `size` bytes; `seed` changes the fields that differ between responses.
fn page(size: usize, seed: u64, separator: &str) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut page, mut number) = (String::from("{\"items\":["), 0);
    while page.len() < size {
        let comma = if number == 0 { "" } else { separator };
        let id = random.u64(..);
        let price = number * 7 % 100;
        page.push_str(comma);
        page.extend([
            format!(
                "{{\"id\":\"{id:016x}\",\"number\":{number},\"price\":{price}.50,\"currency\":\"EUR\",\"paid\":true,"
            ),
            "\"customer\":{\"name\":\"Ana \\\"A.\\\" Müller\",\"email\":\"ana@example.com\"},".to_owned(),
            "\"tags\":[\"a\",\"b\"]}".to_owned(),
        ]);
        number += 1;
    }
    page.push_str("]}");
    page
}

fn compare(c: &mut Criterion) {
    let headers: HeaderMap =
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
    let plain = Criteria::default();
    let patterns = |texts: &[&str]| texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect::<Vec<_>>();
    let ignoring =
        Criteria::new(&patterns(&["$.items[*].id", "$..ts"]), &patterns(&["$.items"]), &[], &patterns(&["$..email"]));
    for kib in [16, 64, 256] {
        let size = kib * 1024;
        let page_a = page(size, 1, ",");
        let (spaced, page_b) = (page(size, 1, " , "), page(size, 2, ","));
        let outcome = |body| {
            ExchangeOutcome::Answered(ResponseView { status: StatusCode::OK, headers: &headers, trailers: None, body })
        };
        let [a, spaced, b] = [&page_a, &spaced, &page_b].map(|text| outcome(BodyView::whole(text.as_bytes())));
        let mut group = c.benchmark_group(format!("compare/{kib}KiB"));
        group.throughput(Throughput::Bytes(page_a.len() as u64 * 2));
        for (name, criteria, other) in [
            ("same bytes", &plain, &a),
            ("same meaning", &plain, &spaced),
            ("every id differs", &plain, &b),
            ("every id differs, ignored", &ignoring, &b),
        ] {
            group.bench_function(BenchmarkId::from_parameter(name), |bench| {
                bench.iter(|| black_box(criteria.compare(black_box(&a), black_box(other))));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1)).sample_size(20);
    targets = compare
}
criterion_main!(benches);
