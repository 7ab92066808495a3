//! jitd can't talk to a network: nothing that could is linked into it.

use std::process::Command;

#[test]
fn no_http_and_no_tls_is_linked_into_jitd() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "-p",
            "jitd",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"jit_grant"), "{tree}");
    for name in names {
        for network in [
            "reqwest",
            "hyper",
            "http",
            "h2",
            "rustls",
            "native-tls",
            "openssl",
            "openssl-sys",
            "axum",
            "tower-http",
            "tungstenite",
        ] {
            assert!(
                name != network && !name.starts_with(&format!("{network}-")),
                "{name} is linked into jitd"
            );
        }
    }
}
