//! Properties of any bytes as a file of endpoints: they are endpoints, or there is a fault with its line; never a panic.

use pointsman::config::parse_endpoints;
use pointsman::route::EndpointRole;

/// The most endpoints of a file.
const ENDPOINTS_MAX: usize = 65_536;

/// The longest message, in bytes: it does not repeat a long line.
const MESSAGE_BYTES_MAX: usize = 2_000;

/// Any bytes.
pub fn any(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse_endpoints(&text) {
        Ok(endpoints) => {
            assert!(endpoints.len() <= ENDPOINTS_MAX, "the number is bounded");
            assert!(text.is_empty() || text.ends_with('\n'), "a half written file is refused");
            let mut written = String::new();
            for endpoint in &endpoints {
                assert!((1..=1_000).contains(&endpoint.weight) && endpoint.port > 0, "{endpoint}");
                let role = match endpoint.role {
                    EndpointRole::Primary => "",
                    EndpointRole::Backup => " backup",
                    EndpointRole::Drained => " drain",
                };
                written.push_str(&[&endpoint.url(), role, " weight=", &endpoint.weight.to_string(), "\n"].concat());
            }
            assert_eq!(parse_endpoints(&written), Ok(endpoints), "what is written again is the same");
        }
        Err(message) => {
            assert!(message.starts_with("line "), "{message}");
            assert!(message.len() <= MESSAGE_BYTES_MAX, "{} bytes", message.len());
        }
    }
}
