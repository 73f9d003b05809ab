//! A minimal writer of databases in `MaxMind`'s format: networks, and the code of a country for each.

/// A database in which each of these networks (`192.0.2.0/24`, `2001:db8::/32`) has this country.
pub fn countries(networks: &[(&str, &str)]) -> Vec<u8> {
    database("Test-Country", "country", networks)
}

/// A database of this type, in which each of these networks has a record under this key.
pub fn database(kind: &str, key: &str, networks: &[(&str, &str)]) -> Vec<u8> {
    let mut tree = Tree { nodes: vec![[None; 2]] };
    let mut data = Vec::new();
    for (network, code) in networks {
        let at = data.len();
        map(&mut data, 1);
        string(&mut data, key);
        map(&mut data, 1);
        string(&mut data, "iso_code");
        string(&mut data, code);
        tree.insert(network, at);
    }
    let mut file = tree.bytes();
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    map(&mut file, 9);
    for (name, value) in
        [("binary_format_major_version", 2), ("binary_format_minor_version", 0), ("ip_version", 6), ("record_size", 32)]
    {
        string(&mut file, name);
        file.extend([5 << 5 | 2, 0, value]);
    }
    string(&mut file, "node_count");
    file.push(6 << 5 | 4);
    file.extend(u32::try_from(tree.nodes.len()).unwrap().to_be_bytes());
    string(&mut file, "build_epoch");
    file.extend([1, 2, 1]);
    string(&mut file, "database_type");
    string(&mut file, kind);
    string(&mut file, "description");
    map(&mut file, 0);
    string(&mut file, "languages");
    file.extend([0, 4]);
    file
}

fn map(out: &mut Vec<u8>, members: u8) {
    out.push(7 << 5 | members);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(2 << 5 | u8::try_from(text.len()).unwrap());
    out.extend(text.as_bytes());
}

/// The child that a bit leads to.
#[derive(Clone, Copy)]
enum Next {
    Node(usize),
    Data(usize),
}

struct Tree {
    nodes: Vec<[Option<Next>; 2]>,
}

impl Tree {
    fn insert(&mut self, network: &str, data: usize) {
        let parsed: ipnet::IpNet = network.parse().unwrap();
        // IPv4 is at the beginning of the IPv6 tree.
        let (bits, length) = match parsed {
            ipnet::IpNet::V4(net) => (u128::from(u32::from(net.network())), 96 + net.prefix_len()),
            ipnet::IpNet::V6(net) => (u128::from(net.network()), net.prefix_len()),
        };
        let mut node = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                self.nodes[node][side] = Some(Next::Data(data));
            } else if let Some(Next::Node(next)) = self.nodes[node][side] {
                node = next;
            } else {
                self.nodes.push([None; 2]);
                let next = self.nodes.len() - 1;
                self.nodes[node][side] = Some(Next::Node(next));
                node = next;
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let record = |next: &Option<Next>| match next {
            None => count,
            Some(Next::Node(node)) => *node,
            Some(Next::Data(at)) => count + 16 + at,
        };
        let records = self.nodes.iter().flatten().map(record);
        records.flat_map(|record| u32::try_from(record).unwrap().to_be_bytes()).collect()
    }
}
