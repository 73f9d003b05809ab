//! The fields of a client's verified certificate that rules can use.

/// The identity of a client by its certificate. Values with control characters are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedCert {
    /// The common name of the subject.
    pub cn: Option<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs, such as a SPIFFE id.
    pub uri: Vec<String>,
    /// Mail addresses.
    pub email: Vec<String>,
}

/// A field of a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertField {
    /// The common name.
    Cn,
    /// A DNS name.
    Dns,
    /// A URI.
    Uri,
    /// A mail address.
    Email,
}

impl CertField {
    /// All fields.
    pub const ALL: [Self; 4] = [Self::Cn, Self::Dns, Self::Uri, Self::Email];

    /// The name in `routes.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cn => "cn",
            Self::Dns => "dns",
            Self::Uri => "uri",
            Self::Email => "email",
        }
    }
}

impl VerifiedCert {
    /// The values of a field.
    pub fn values(&self, field: CertField) -> impl Iterator<Item = &str> {
        let all = match field {
            CertField::Cn => self.cn.as_slice(),
            CertField::Dns => &self.dns,
            CertField::Uri => &self.uri,
            CertField::Email => &self.email,
        };
        all.iter().map(String::as_str)
    }
}
