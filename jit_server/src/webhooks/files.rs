//! Where secrets and certificates are. The sender's unit hands secrets over as systemd's credentials, since the sender itself may not read
//! root's files; where there is no such unit they are read in place.

use std::path::{Component, Path, PathBuf};

use crate::policy::read_text;
use crate::signer::read_private;

/// Where a secret is that is named without a folder.
pub const SECRETS: &str = "/etc/jit-server/webhook-secrets";
/// What the unit calls that folder: systemd puts its files beside each other, with this and `_` before their names.
const CREDENTIAL: &str = "webhook-secrets_";

/// Where to look for what settings name.
#[derive(Debug, Clone)]
pub struct Files {
    /// systemd's credentials of this process.
    pub credentials: Option<PathBuf>,
    /// Where they come from.
    pub secrets: PathBuf,
}

impl Files {
    /// As the unit, or whoever runs this, has it.
    #[must_use]
    pub fn here() -> Self {
        Self {
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            secrets: SECRETS.into(),
        }
    }

    /// The text of a secret's file: a path, or a name alone. Nobody else may read it. The error says what is wrong with it.
    pub(super) fn secret(&self, name: &str) -> Result<String, String> {
        let path = Path::new(name);
        if path.is_absolute() {
            return private(path);
        }
        let mut parts = path.components();
        let alone = matches!(parts.next(), Some(Component::Normal(part)) if part == path);
        if !alone {
            return Err("must be an absolute path, or a name alone".to_owned());
        }
        match &self.credentials {
            // systemd sees to who may read it.
            Some(folder) => read_text(&folder.join(format!("{CREDENTIAL}{name}"))),
            None => private(&self.secrets.join(name)),
        }
    }

    /// A file of certificates, which is no secret.
    pub(super) fn certificates(&self, name: &str) -> Result<String, String> {
        let path = Path::new(name);
        if !path.is_absolute() {
            return Err("must be an absolute path".to_owned());
        }
        read_text(path)
    }
}

/// The text of a file of our own that nobody else may read.
fn private(path: &Path) -> Result<String, String> {
    // What a key that is not there asks for is none of a secret's business.
    if let Err(error) = path.symlink_metadata() {
        return Err(format!("can't be opened: {error}"));
    }
    String::from_utf8(read_private(path)?).map_err(|_| "is no text".to_owned())
}
