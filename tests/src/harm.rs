//! Taking jitd out of the way, and putting everything right again.

use anyhow::Result;

use crate::site::Site;

/// Masked first, since a caller in one of its sockets would start it again while they are being closed.
const STOP: &str = "
    systemctl mask --runtime --now --quiet jitd.service
    systemctl stop jitd-sync.path jitd-sync.service jitd-pam.socket jitd-ctl.socket jitd-sync.socket";

/// Whatever is in the sockets' place goes.
const MEND: &str = "
    systemctl mask --runtime --now --quiet jitd.service
    systemctl stop jitd-sync.path jitd-sync.service jitd-pam.socket jitd-ctl.socket jitd-sync.socket
    rm -rf /run/jit/pam.sock
    systemctl unmask --runtime --quiet jitd.service
    systemctl reset-failed 'jitd*' || true
    systemctl start jitd-pam.socket jitd-ctl.socket jitd-sync.socket jitd.service jitd-sync.path jitd-sync.service";

impl Site {
    /// Stops jitd, its courier and its sockets.
    ///
    /// # Errors
    /// systemctl fails.
    pub fn stop_jitd(&self) -> Result<()> {
        self.host.sh(STOP).map(drop)
    }

    /// Has jitd run again as after a start of the host, whatever was done to it, and waits until it is in touch with the server.
    ///
    /// # Errors
    /// It does not start, or hears nothing.
    pub fn mend_jitd(&self) -> Result<()> {
        self.host.sh(MEND)?;
        self.wait_until_current()
    }
}
