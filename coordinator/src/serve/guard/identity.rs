//! A coordinator's identity is a folder that is made once, or mounted:
//!
//! | file | |
//! |---|---|
//! | `ca.crt`, `ca.key` | a CA of this coordinator alone; at every start it signs a certificate anew |
//! | `tls.crt`, `tls.key` | instead of that: a certificate with its chain, as cert-manager writes it; read again when it changes |
//! | `worker-tokens`, `user-tokens` | a token a line; any is taken, the first is given out |
//! | `client-ca.crt` | optional: clients may show a certificate signed by it instead of a token, and the files of tokens may be absent |

use super::tls::{Chain, Tls};
use super::tokens::{Role, Tokens, tokens};
use data_encoding::HEXLOWER;
use espalier_proto::ids::Digest;
use espalier_proto::remote::pem;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why an identity cannot be used. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file.
    #[error("identity: {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key make no server.
    #[error("identity {}: {why}", folder.display())]
    Tls {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What a coordinator proves itself and others with.
pub struct Identity {
    folder: PathBuf,
    /// The certificate that clients look for in its chain.
    fingerprint: Digest,
    /// Accepts connections.
    pub tls: Tls,
    /// Who may call.
    pub tokens: Arc<Tokens>,
}

impl Identity {
    /// Takes the folder's identity; one that is not there, or empty, is made. `names` are hosts that a certificate made
    /// here names; of one that is mounted it is told where it lacks the `advertised`.
    pub fn open(folder: &Path, names: &[String], advertised: Option<&str>) -> Result<Self, IdentityError> {
        let mut entries = std::fs::read_dir(folder).ok();
        if entries.as_mut().is_none_or(|entries| entries.next().is_none()) {
            make(folder)?;
        }
        let own = folder.join("tls.crt");
        let tls = match own.exists() {
            true => Tls::mounted(folder, advertised)?,
            false => Tls::made(folder, signed(folder, names)?)?,
        };
        let fingerprint = tls.anchor();
        let tokens = Arc::new(Tokens::open(folder)?);
        // SAFETY: it only asks the kernel who this process is.
        if let Some(open) = readable_by_others(folder, unsafe { libc::geteuid() }) {
            tracing::warn!(
                folder = %folder.display(),
                "others than this user can read what is secret of the identity: chmod go= {open} (of a mounted Secret: defaultMode: 0400, \
                 or 0440 with fsGroup)"
            );
        }
        Ok(Self { folder: folder.to_owned(), fingerprint, tls, tokens })
    }

    /// What a role's programs are told: `https://HOST:PORT#FINGERPRINT:TOKEN`, with the first token of its file, which is also the one that
    /// a program shows whose `--token-file` that is. A secret. Without `:TOKEN` where the role has none: it shows certificates.
    pub fn address(&self, authority: &str, role: Role) -> Result<String, IdentityError> {
        let token = tokens(&self.folder, role)?.into_iter().next();
        let token = token.map(|token| format!(":{token}")).unwrap_or_default();
        Ok(format!("https://{authority}#{}{token}", self.fingerprint))
    }
}

/// The folder's secret files that others than this user may read, as a shell takes them. A group counts where the file is the
/// user's own: where it is another's, as in a mounted Secret, the group is how this process reads it.
fn readable_by_others(folder: &Path, user: u32) -> Option<String> {
    let secret = ["ca.key", "tls.key", Role::Worker.file(), Role::User.file()].map(|name| folder.join(name));
    let open = secret.iter().filter(|path| {
        let known = std::fs::metadata(path).ok();
        known.is_some_and(|file| file.mode() & if file.uid() == user { 0o044 } else { 0o004 } != 0)
    });
    let open: Vec<String> = open.map(|path| quoted(path)).collect();
    (!open.is_empty()).then(|| open.join(" "))
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    // Only a NUL cannot be quoted, and no path has one.
    shlex::try_quote(&text).map_or_else(|_| text.clone().into_owned(), |quoted| quoted.into_owned())
}

/// A CA and two tokens in a folder that only its owner can look into.
fn make(folder: &Path) -> Result<(), IdentityError> {
    let at = |path: &Path, why: &dyn std::fmt::Display| IdentityError::File {
        path: path.to_owned(),
        why: format!("it cannot be made: {why}"),
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| at(folder, &e))?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| at(&path, &e))
    };
    let (parameters, key) = (authority(), KeyPair::generate().map_err(|e| at(folder, &e))?);
    let certificate = parameters.self_signed(&key).map_err(|e| at(folder, &e))?;
    for role in Role::ALL {
        let mut random = [0; 32];
        default_provider()
            .secure_random
            .fill(&mut random)
            .map_err(|_| at(&folder.join(role.file()), &"the system gives no random bytes"))?;
        write(role.file(), &format!("{}\n", HEXLOWER.encode(&random)))?;
    }
    write("ca.key", &key.serialize_pem())?;
    write("ca.crt", &certificate.pem())?;
    tracing::info!(folder = %folder.display(), "an identity was made");
    Ok(())
}

fn authority() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "espalier coordinator's CA");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

/// A certificate of the folder's CA, made now.
fn signed(folder: &Path, names: &[String]) -> Result<Chain, IdentityError> {
    let (certificate, key) = (folder.join("ca.crt"), folder.join("ca.key"));
    let bad = |path: &Path, why: &dyn std::fmt::Display| IdentityError::File {
        path: path.to_owned(),
        why: why.to_string(),
    };
    if !certificate.exists() {
        let why = "there is none, and no tls.crt: a coordinator shows a certificate of its own, whatever its clients show; `espalier identity --identity \
                   FOLDER` makes one in a folder that is not there yet, into which client-ca.crt may be put, and from which the tokens may be removed";
        return Err(bad(&certificate, &why));
    }
    let pem = std::fs::read_to_string(&certificate).map_err(|e| bad(&certificate, &e))?;
    let key_pem = std::fs::read_to_string(&key).map_err(|e| bad(&key, &e))?;
    let authorities = pem::certificates(&certificate).map_err(|why| bad(&certificate, &why))?;
    let ca_key = KeyPair::from_pem(&key_pem).map_err(|e| bad(&key, &e))?;
    let (_, parsed) = X509Certificate::from_der(&authorities[0]).map_err(|e| bad(&certificate, &e))?;
    // What another key signs nobody would believe.
    if parsed.public_key().subject_public_key.data != ca_key.public_key_raw() {
        return Err(bad(&key, &"found the key of another certificate, expected the one of ca.crt"));
    }
    let issuer = Issuer::from_ca_cert_pem(&pem, ca_key).map_err(|e| bad(&certificate, &e))?;
    let own = KeyPair::generate().map_err(|e| bad(folder, &e))?;
    let mut parameters = CertificateParams::new(names.to_vec()).map_err(|e| bad(folder, &e))?;
    parameters.distinguished_name.push(DnType::CommonName, "espalier coordinator");
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = parameters.signed_by(&own, &issuer).map_err(|e| bad(&certificate, &e))?;
    let mut chain = vec![leaf.der().clone()];
    chain.extend(authorities);
    let key = PrivateKeyDer::try_from(own.serialize_der()).map_err(|e| bad(folder, &e))?;
    Ok((chain, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn of_a_file_of_tokens_the_first_is_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        let identity = Identity::open(&path, &[], None).unwrap();
        std::fs::write(path.join("user-tokens"), "# both\n\na-new-token-for-users\nan-old-token-for-users\n")
            .unwrap();
        let address = identity.address("h:1", Role::User).unwrap();
        assert!(address.ends_with(":a-new-token-for-users"), "{address}");
        let address = espalier_proto::remote::Address::parse(&address).unwrap();
        assert_eq!(address.pin, Some(identity.fingerprint));
    }

    #[test]
    fn a_secret_that_is_mounted_for_a_group_is_no_ones_else_and_a_users_own_file_of_that_mode_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("worker-tokens");
        std::fs::write(&file, "t").unwrap();
        let own = std::fs::metadata(&file).unwrap().uid();
        let told = |user: u32, mode: u32| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            readable_by_others(folder.path(), user).is_some()
        };
        // As the manifests mount it: root's, read by way of the pod's group.
        assert!(!told(own + 1, 0o440));
        assert!(told(own + 1, 0o444));
        assert!(told(own, 0o440));
        assert!(!told(own, 0o400));
    }
}
