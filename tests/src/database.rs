//! A PostgreSQL on a host, which others reach over TLS, set up as docs/database.md has it.

use anyhow::Result;

use crate::authority::{Authority, NOW};
use crate::host::Host;

/// Makes it on `host`, which has the package, with the certificate in `/etc/jit-server/db-ca.crt` of the authority that vouches for it.
///
/// # Errors
/// Something of it fails inside the host.
pub fn make(host: &Host) -> Result<()> {
    host.sh("mkdir --parents /etc/jit-server")?;
    let authority = Authority::make()?;
    let issued = authority.issue(host.name(), NOW)?;
    host.write("/etc/jit-server/db-ca.crt", "0644", authority.certificate())?;
    host.write("/etc/postgresql/server.crt", "0644", issued.certificate)?;
    host.write("/etc/postgresql/server.key", "0600", issued.key)?;
    host.sh(
        "chown postgres: /etc/postgresql/server.key /etc/postgresql/server.crt;\
         cluster=$(echo /etc/postgresql/*/main);\
         echo 'hostssl jit jit 10.77.0.0/24 scram-sha-256' >> $cluster/pg_hba.conf;\
         printf '%s\\n' \"listen_addresses = '*'\" 'ssl = on' \"ssl_cert_file = '/etc/postgresql/server.crt'\" \
             \"ssl_key_file = '/etc/postgresql/server.key'\" > $cluster/conf.d/jit.conf;\
         systemctl restart postgresql;\
         runuser -u postgres -- psql --quiet --command \"CREATE ROLE jit LOGIN PASSWORD 'of-a-test'\";\
         runuser -u postgres -- createdb --owner jit jit",
    )
    .map(drop)
}

/// Writes where `host` finds the one on the host `at`, password and all, into a file that the server may read and nobody else.
///
/// # Errors
/// The package jit-server is not installed there.
pub fn write_address(host: &Host, file: &str, at: &str) -> Result<()> {
    host.sh(&format!("install -m 0640 -g jit-server /dev/null {file}"))?;
    let write = host.command(&["sh", "-c", &format!("cat > {file}")]);
    let address = format!(
        "postgres://jit:of-a-test@{at}/jit?sslmode=verify-full&sslrootcert=/etc/jit-server/db-ca.crt\n"
    );
    write.input(address).run()?.succeeded().map(drop)
}
