//! What a token endpoint is asked: the grant, and who asks (RFC 6749 sections 2.3.1, 4.1.3, 4.4 and 6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::header::HeaderValue;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::base::secret::Secret;
use crate::proxy::policy::catalog::ScopeSet;
use crate::proxy::token::credentials::CredentialPair;

/// How the client authenticates (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuthMethod {
    /// By `client_id` and `client_secret` in the form.
    Form,
    /// By HTTP Basic.
    Basic,
}

/// What a token is asked for with.
#[derive(Debug, Clone, Copy)]
pub enum GrantRequest<'a> {
    /// The machine's own rights (RFC 6749 section 4.4).
    ClientCredentials(ScopeSet),
    /// The rights of a person who has signed in before (RFC 6749 section 6). It names no scopes: none are given up.
    RefreshToken(&'a Secret),
    /// A sign-in that has just ended well (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
    AuthorizationCode {
        /// The code.
        code: &'a Secret,
        /// The redirect URI of the authorization request.
        redirect_uri: &'a str,
        /// What the authorization request had the hash of.
        verifier: &'a Secret,
    },
}

/// The request's body, in memory that is overwritten when it is dropped and never outgrown.
pub(super) fn form(auth: ClientAuthMethod, pair: &CredentialPair, grant: GrantRequest<'_>) -> Zeroizing<String> {
    let exposed = |secret: &Secret| secret.expose();
    let plain = |text: &str| Zeroizing::new(text.to_owned());
    let of_grant = match grant {
        GrantRequest::ClientCredentials(scopes) => {
            vec![("grant_type", plain("client_credentials")), ("scope", plain(&scopes.to_string()))]
        }
        GrantRequest::RefreshToken(token) => {
            vec![("grant_type", plain("refresh_token")), ("refresh_token", exposed(token))]
        }
        GrantRequest::AuthorizationCode { code, redirect_uri, verifier } => vec![
            ("grant_type", plain("authorization_code")),
            ("code", exposed(code)),
            ("redirect_uri", plain(redirect_uri)),
            ("code_verifier", exposed(verifier)),
        ],
    };
    // An app without a secret says who it is all the same (RFC 6749 section 3.2.1).
    let in_form = auth == ClientAuthMethod::Form || pair.secret.is_none();
    let id = in_form.then(|| ("client_id", exposed(&pair.id)));
    let secret = pair.secret.as_ref().filter(|_| in_form).map(|secret| ("client_secret", exposed(secret)));
    let fields: Vec<_> = of_grant.into_iter().chain(id).chain(secret).collect();
    let room = fields.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    let mut form = Zeroizing::new(String::with_capacity(room));
    let mut writer = Serializer::new(&mut *form);
    for (name, value) in &fields {
        writer.append_pair(name, value);
    }
    form
}

/// Both parts are form-encoded inside of the Basic scheme (RFC 6749 section 2.3.1).
pub(super) fn basic(id: &Secret, secret: &Secret) -> HeaderValue {
    let (id, secret) = (id.expose(), secret.expose());
    let mut parts = Zeroizing::new(String::with_capacity(3 * (id.len() + secret.len()) + 1));
    parts.extend(byte_serialize(id.as_bytes()));
    parts.push(':');
    parts.extend(byte_serialize(secret.as_bytes()));
    let mut value = Zeroizing::new(String::with_capacity(parts.len() * 4 / 3 + 16));
    value.push_str("Basic ");
    STANDARD.encode_string(parts.as_bytes(), &mut value);
    // Base64 is always a header value.
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> CredentialPair {
        let secret = |text: &str| crate::base::secret::Secret::new(text.to_owned());
        CredentialPair { id: secret("an id:1"), secret: Some(secret("s&c=r+t%/\u{e9}")) }
    }

    #[test]
    fn endpoint_encodes_credentials_in_the_form_once() {
        let scopes: ScopeSet = [crate::proxy::policy::catalog::Scope::Monitoring].into_iter().collect();
        let machine = GrantRequest::ClientCredentials(scopes);
        let encoded = form(ClientAuthMethod::Form, &pair(), machine);
        assert_eq!(
            encoded.as_str(),
            "grant_type=client_credentials&scope=monitoring&client_id=an+id%3A1&client_secret=s%26c%3Dr%2Bt%25%2F%C3%A9"
        );
        let bare = form(ClientAuthMethod::Basic, &pair(), machine);
        assert_eq!(bare.as_str(), "grant_type=client_credentials&scope=monitoring");
    }

    #[test]
    fn endpoint_writes_the_grants_of_persons_as_their_standards_say() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let native = CredentialPair { secret: None, ..pair() };
        for auth in [ClientAuthMethod::Form, ClientAuthMethod::Basic] {
            let refresh = form(auth, &native, GrantRequest::RefreshToken(&secret("a+b")));
            assert_eq!(refresh.as_str(), "grant_type=refresh_token&refresh_token=a%2Bb&client_id=an+id%3A1");
        }
        let (code, verifier, redirect_uri) = (secret("c"), secret("v"), "http://127.0.0.1:1");
        let code = GrantRequest::AuthorizationCode { code: &code, redirect_uri, verifier: &verifier };
        let said = "grant_type=authorization_code&code=c&redirect_uri=http%3A%2F%2F127.0.0.1%3A1&code_verifier=v";
        assert_eq!(form(ClientAuthMethod::Basic, &pair(), code).as_str(), said);
    }

    #[test]
    fn endpoint_encodes_credentials_for_basic_as_a_form_inside_of_base64() {
        let pair = pair();
        let value = basic(&pair.id, pair.secret.as_ref().expect("a secret"));
        let encoded = value.to_str().expect("text").strip_prefix("Basic ").expect("the scheme");
        let decoded = STANDARD.decode(encoded).expect("base64");
        assert_eq!(decoded, b"an+id%3A1:s%26c%3Dr%2Bt%25%2F%C3%A9");
        assert!(value.is_sensitive());
    }
}
