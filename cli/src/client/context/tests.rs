use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn config() -> Config {
    let context = |name: &str, server: &str, mesh: Option<&str>| Context {
        name: name.to_owned(),
        servers: vec![server.to_owned()],
        ca_file: None,
        token: None,
        mesh: mesh.map(str::to_owned),
    };
    Config {
        current_context: Some("lab".to_owned()),
        contexts: vec![context("lab", "lab-1", None), context("prod", "prod-1", Some("shop"))],
    }
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    struct Case {
        server: &'static [&'static str],
        context: Option<&'static str>,
        server_variable: Option<&'static str>,
        context_variable: Option<&'static str>,
        expected: (&'static str, &'static str),
    }
    let case = Case {
        server: &[],
        context: None,
        server_variable: None,
        context_variable: None,
        expected: ("lab-1:5681", "default"),
    };
    for case in [
        Case { expected: ("lab-1:5681", "default"), ..case },
        Case { context_variable: Some("prod"), expected: ("prod-1:5681", "shop"), ..case },
        Case {
            server_variable: Some("env-1"),
            context_variable: Some("prod"),
            expected: ("env-1:5681", "default"),
            ..case
        },
        Case { server_variable: Some("  "), ..case },
        Case {
            context: Some("prod"),
            server_variable: Some("env-1"),
            expected: ("prod-1:5681", "shop"),
            ..case
        },
        Case {
            server: &["flag-1"],
            context: Some("prod"),
            server_variable: Some("env-1"),
            expected: ("flag-1:5681", "default"),
            ..case
        },
    ] {
        let wishes = Wishes {
            server_flag: case.server.iter().map(|s| (*s).to_owned()).collect(),
            context_flag: case.context.map(str::to_owned),
            server_variable: case.server_variable.map(str::to_owned),
            context_variable: case.context_variable.map(str::to_owned),
            ..Wishes::default()
        };
        let target = config().target(&wishes).unwrap();
        assert_eq!((address::shown(&target.servers[0]).as_str(), &*target.mesh), case.expected);
    }
    let nothing = Config::default().target(&Wishes::default()).unwrap();
    assert_eq!(address::shown(&nothing.servers[0]), DEFAULT_SERVER);
}

#[test]
fn an_unknown_context_is_refused_with_what_to_do() {
    let wishes = Wishes { context_flag: Some("stage".to_owned()), ..Wishes::default() };
    let error = config().target(&wishes).unwrap_err();
    assert_eq!(
        error,
        "no context \"stage\" (known: lab, prod); make it with `higuma config set-context stage \
         --server ADDR,ADDR`"
    );
}

#[test]
fn the_file_keeps_what_was_set_and_belongs_to_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/config.yaml");
    assert_eq!(Config::load(&path), Ok(Config::default()));
    let mut config = config();
    config.save(&path).unwrap();
    assert_eq!(Config::load(&path), Ok(config.clone()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let ca_file = Some(PathBuf::from("/pki/ca.pem"));
    let servers = vec!["b".to_owned()];
    let token = Some(Token::try_from("a.b.c".to_owned()).unwrap());
    config.set(Context { name: "lab".to_owned(), servers, ca_file, token, mesh: None });
    config.save(&path).unwrap();
    assert_eq!(Config::load(&path), Ok(config.clone()));
    assert_eq!(config.contexts.len(), 2);
    assert_eq!(config.context("lab").unwrap().servers, ["b"]);

    std::fs::write(&path, "contexts: []\ncurentContext: x\n").unwrap();
    let error = Config::load(&path).unwrap_err();
    assert!(error.contains("is not a configuration of higuma"), "{error}");
    assert!(error.contains("curentContext"), "{error}");
}

#[test]
fn the_file_is_where_the_environment_says() {
    let path = |pairs: &'static [(&str, &str)]| {
        config_path(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    };
    let shown = |pairs| path(pairs).unwrap().display().to_string();
    assert_eq!(shown(&[("HOME", "/h")]), "/h/.config/higuma/config.yaml");
    assert_eq!(shown(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), "/x/higuma/config.yaml");
    assert_eq!(shown(&[("HOME", "/h"), ("HIGUMA_CONFIG", "/c.yaml")]), "/c.yaml");
    assert!(path(&[]).unwrap_err().contains("give --config FILE"));
}

#[test]
fn ca_and_token_are_the_flags_or_those_of_the_context_that_names_the_servers() {
    let token = |text: &str| Some(Token::try_from(text.to_owned()).unwrap());
    let of_lab = Trust { ca_file: Some("/of/lab.pem".into()), token: token("lab") };
    let mut config = config();
    config.contexts[0].ca_file.clone_from(&of_lab.ca_file);
    config.contexts[0].token.clone_from(&of_lab.token);
    let trusts = |wishes: Wishes| config.target(&wishes).unwrap().trust;
    assert_eq!(trusts(Wishes::default()), of_lab);
    let flags = Trust { ca_file: Some("/flag.pem".into()), token: token("flag") };
    assert_eq!(trusts(Wishes { trust: flags.clone(), ..Wishes::default() }), flags);
    let one = Trust { ca_file: None, token: token("flag") };
    let both = Trust { ca_file: of_lab.ca_file.clone(), ..one.clone() };
    assert_eq!(trusts(Wishes { trust: one, ..Wishes::default() }), both);
    let server_flag = vec!["other".to_owned()];
    let nothing = trusts(Wishes { server_flag, ..Wishes::default() });
    assert_eq!(nothing, Trust::default(), "another cluster gets no token");
}
