//! REST over HTTPS: a real global, asked by the real command.

use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use higuma_testkit::{loopback, poll_until};

/// A start and an election on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct Global {
    folder: tempfile::TempDir,
    address: IpAddr,
    running: Child,
}

fn run(folder: &tempfile::TempDir, address: IpAddr, more: &[&str]) -> Child {
    let ip = address.to_string();
    let log = File::options().append(true).create(true).open(folder.path().join("log"));
    let log = log.expect("a log");
    let mut command = higuma(folder);
    command.args(["global", "run", "--node-id=1", "--data-dir=data", "--bind", &ip]);
    command.args(["--members", &format!("1={ip}:5684"), "--tls-ca=pki/ca.pem"]);
    command.args(["--tls-cert=pki/node-1.pem", "--tls-key=pki/node-1-key.pem"]).args(more);
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    command.spawn().expect("the binary runs")
}

impl Global {
    async fn start() -> Self {
        let (folder, address) = (tempfile::tempdir().expect("tempdir"), loopback());
        let ip = address.to_string();
        let words = ["generate", "cluster-tls", "--cluster-name=prod", "--out=pki"];
        let made = higuma(&folder).args(words).args(["--nodes", &format!("1={ip}")]).output();
        assert!(made.expect("the binary runs").status.success());
        // For what this test asks by itself.
        higuma_serve::install_crypto_provider();
        let running = run(&folder, address, &[]);
        let global = Self { folder, address, running };
        global.until_ready().await;
        global
    }

    /// The same node, with other flags.
    async fn restart(&mut self, more: &[&str]) {
        self.running.kill().expect("it runs");
        self.running.wait().expect("it ends");
        self.running = run(&self.folder, self.address, more);
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        let url = format!("http://{}:5680/ready", self.address);
        let ask = async || reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200);
        let ready = poll_until("it is ready", PATIENCE, ask, |ready| *ready).await;
        ready.unwrap_or_else(|late| panic!("{late:?}\n{}", self.log()));
    }

    fn plain(&self) -> String {
        format!("http://{}:5681", self.address)
    }

    fn https(&self) -> String {
        format!("https://{}", self.address)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).expect("a log")
    }

    fn run(&self, words: &[&str]) -> Output {
        higuma(&self.folder).args(words).output().expect("the binary runs")
    }

    /// What a command that succeeds prints.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{words:?}: {out}{err}\n{}", self.log());
        out
    }

    /// What a command says that fails with this exit code.
    fn refused(&self, code: i32, words: &[&str]) -> String {
        let output = self.run(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{words:?}: {out}{err}\n{}", self.log());
        err
    }
}

impl Drop for Global {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

fn higuma(folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_higuma"));
    command.current_dir(folder.path()).stdin(Stdio::null());
    command.env("HIGUMA_CONFIG", folder.path().join("config.yaml"));
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_go_over_https_to_whom_they_trust() {
    let global = Global::start().await;
    let (https, ca) = (global.https(), ["--ca-file", "pki/ca.pem"]);
    std::fs::write(global.path("mesh.yaml"), "type: Mesh\nname: shop\n").expect("write");
    let words = ["apply", "-f", "mesh.yaml", "--server", &https];
    let applied = global.ok(&[&words[..], &ca].concat());
    assert!(applied.contains("shop"), "{applied}");

    let why = global.refused(3, &["get", "meshes", "--server", &https]);
    assert!(why.contains("is of a CA that is not trusted here"), "{why}");
    assert!(why.contains("--ca-file"), "{why}");
    let wrong_port = format!("https://{}:5681", global.address);
    let words = ["get", "meshes", "--server", &wrong_port];
    let why = global.refused(3, &[&words[..], &ca].concat());
    assert!(why.contains("it does not speak TLS there"), "{why}");

    let words = ["config", "set-context", "prod", "--server", &https];
    global.ok(&[&words[..], &ca].concat());
    global.ok(&["config", "use-context", "prod"]);
    let shown = global.ok(&["get", "meshes"]);
    assert!(shown.contains("shop"), "{shown}");
    let kept = std::fs::read_to_string(global.path("config.yaml")).expect("a file");
    assert!(kept.contains(&format!("{https}:5682")), "{kept}");
    let whole = global.path("pki/ca.pem").display().to_string();
    assert!(kept.contains(&whole), "a path that is good in any folder: {kept}");
}

const ROLES: &str = "
bindings:
- groups: [team-shop]
  meshes: [shop]
  types: [Mesh, TrafficRoute]
  access: write
";

#[tokio::test(flavor = "multi_thread")]
async fn users_come_with_tokens_and_do_what_their_roles_say() {
    let mut global = Global::start().await;
    let save = |global: &Global, name: &str, text: &str| {
        std::fs::write(global.path(name), text).expect("write");
    };
    let generate = ["generate", "user-token", "--valid-for=1h"];
    let server = global.plain();
    for (name, group) in [("root", "mesh-system:admin"), ("ann", "team-shop")] {
        let words = ["--name", name, "--group", group, "--server", &server];
        let token = global.ok(&[&generate[..], &words].concat());
        assert_eq!(token.trim().split('.').count(), 3, "only the token");
        save(&global, name, &token);
    }
    save(&global, "roles.yaml", ROLES);
    global.restart(&["--localhost-is-admin=false", "--roles=roles.yaml"]).await;

    let https = global.https();
    let to = ["--server", &https, "--ca-file", "pki/ca.pem"];
    let root = [&to[..], &["--token-file", "root"]].concat();
    let ann = [&to[..], &["--token-file", "ann"]].concat();
    let with = |words: &[&'static str], more: &[&str]| -> Vec<String> {
        words.iter().chain(more).map(|word| (*word).to_owned()).collect()
    };
    let ok = |words: &[&'static str], more: &[&str]| global.ok(&refs(&with(words, more)));
    let refused =
        |words: &[&'static str], more: &[&str]| global.refused(1, &refs(&with(words, more)));
    save(&global, "shop.yaml", "type: Mesh\nname: shop\n");
    save(&global, "bank.yaml", "type: Mesh\nname: bank\n");
    let why = refused(&["get", "meshes"], &to);
    assert!(why.contains("needs a user token"), "{why}");
    ok(&["apply", "-f", "shop.yaml", "--reason", "ours"], &ann);
    let why = refused(&["apply", "-f", "bank.yaml"], &ann);
    assert!(why.contains("may not write Mesh in mesh bank"), "{why}");
    ok(&["apply", "-f", "bank.yaml"], &root);
    let shown = ok(&["get", "meshes"], &ann);
    assert!(shown.contains("shop") && !shown.contains("bank"), "{shown}");
    let history = ok(&["history", "mesh", "shop", "-o", "json"], &root);
    assert!(history.contains("\"ann\"") && history.contains("ours"), "{history}");

    ok(&["config", "set-context", "prod"], &ann);
    let config = global.path("config.yaml");
    let mode = std::fs::metadata(&config).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let viewed = ok(&["config", "view"], &[]);
    assert!(viewed.contains("(hidden)"), "{viewed}");
    let token = std::fs::read_to_string(global.path("ann")).expect("a token");
    assert!(!viewed.contains(token.trim()), "{viewed}");
    ok(&["get", "meshes", "--context", "prod"], &[]);

    ok(&["token", "revoke", "--file", "ann"], &root);
    let why = refused(&["get", "meshes", "--context", "prod"], &[]);
    assert!(why.contains("the token is revoked"), "{why}");
    ok(&["token", "rotate-key"], &root);
    let keys = ok(&["token", "keys"], &root);
    assert_eq!(keys.lines().count(), 3, "{keys}");
    ok(&["token", "delete-key", "1"], &root);
    let why = refused(&["get", "meshes"], &root);
    assert!(why.contains("signing key \"1\" is not known here"), "{why}");
    let log = global.log();
    assert!(log.contains("issued a user token"), "{log}");
    assert!(!log.contains(token.trim()), "a token in the log");
}

fn refs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
