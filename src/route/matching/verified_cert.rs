//! A client's verified certificate, as far as rules may ask of it.

/// Who a client has proved to be by its certificate. Values with control characters are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedCert {
    /// The common name of its subject.
    pub cn: Option<String>,
    /// Its DNS names.
    pub dns: Vec<String>,
    /// Its URIs, such as a SPIFFE id.
    pub uri: Vec<String>,
    /// Its mail addresses.
    pub email: Vec<String>,
}

/// A part of a client's certificate.
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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cn, Self::Dns, Self::Uri, Self::Email];

    /// The word in the file.
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
    /// The values of a part.
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
