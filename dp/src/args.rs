//! The command line of whoever runs an Envoy. Parsed here, checked in `settings`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Longer than any connection that is worth waiting for when its workload stops.
const MAX_DRAIN_SECONDS: u64 = 3_600;

const RUN_EXAMPLES: &str = "\
Examples:
  A workload described by web.yaml, in a zone with one control plane:
    higuma dp run --dataplane-file web.yaml --cp east.internal:5678 --tls-ca ca.pem

  Two proxies on one host:
    higuma dp run --dataplane-file a.yaml --cp 127.0.0.1:5678 --tls-ca ca.pem
    higuma dp run --dataplane-file b.yaml --cp 127.0.0.1:5678 --tls-ca ca.pem \\
        --admin 127.0.0.1:9902 --diagnostics 127.0.0.1:5690

  In a container whose resolver asks the zone's DNS, so that `curl http://billing.mesh/` works in it:
    docker run --cap-add NET_ADMIN --dns 10.1.0.1 … higuma dp run --bind-outbounds \\
        --dataplane-file web.yaml --cp east.internal:5678 --tls-ca ca.pem";

/// Flags of `higuma dp run`.
#[derive(Args, Clone, Debug)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// The Dataplane of this proxy, YAML or JSON. Variables (`{{ name }}`) are not supported
    #[arg(long, env = "HIGUMA_DATAPLANE_FILE", value_name = "FILE")]
    pub dataplane_file: PathBuf,
    /// Take names to services: `http://<service>.mesh/` leads to Envoy, on port 80 whatever port
    /// the service has. For a workload in a network namespace of its own, such as a container's;
    /// needs CAP_NET_ADMIN there
    #[arg(long, env = "HIGUMA_BIND_OUTBOUNDS")]
    pub bind_outbounds: bool,
    #[command(flatten)]
    pub proxy: ProxyArgs,
}

/// Flags common to all that run an Envoy.
#[derive(Args, Clone, Debug)]
pub struct ProxyArgs {
    /// The zone's control plane, HOST:PORT; several replicas separated by commas
    #[arg(long, env = "HIGUMA_CP", value_name = "ADDR", value_delimiter = ',', required = true)]
    pub cp: Vec<String>,

    /// CA certificates (PEM) that the control plane's certificate must chain to
    #[arg(long, env = "HIGUMA_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// Talk to the control plane without TLS; only where every address of it is loopback
    #[arg(long, env = "HIGUMA_PLAINTEXT")]
    pub plaintext: bool,

    /// The Envoy binary, 1.30 or newer [default: `envoy` in PATH, then .tools/envoy-1.40.0/envoy]
    #[arg(long, env = "HIGUMA_ENVOY", value_name = "PATH")]
    pub envoy: Option<PathBuf>,

    /// Envoy's admin interface, a loopback address
    /// [default: networking.admin.port of the document on 127.0.0.1, then 127.0.0.1:9901]
    #[arg(long, env = "HIGUMA_ADMIN", value_name = "ADDR:PORT")]
    pub admin: Option<SocketAddr>,

    /// Worker threads of Envoy
    #[arg(long, env = "HIGUMA_CONCURRENCY", value_name = "N", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=256))]
    pub concurrency: u32,

    /// How long connections get to end when the proxy stops, or when a listener changes
    #[arg(long, env = "HIGUMA_DRAIN_TIME", value_name = "DURATION", default_value = "5s",
        value_parser = whole_seconds)]
    pub drain_time: Duration,

    /// Where `/healthy`, `/ready` and `/metrics` are served
    #[arg(long, env = "HIGUMA_DIAGNOSTICS", value_name = "ADDR:PORT",
        default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 5680)))]
    pub diagnostics: SocketAddr,

    /// Folder for the files of this run, removed at its end [default: the system's for temporary files]
    #[arg(long, env = "HIGUMA_WORK_DIR", value_name = "DIR")]
    pub work_dir: Option<PathBuf>,

    /// Least level of Envoy's own log lines (HIGUMA_LOG filters them further, target `envoy`)
    #[arg(long, env = "HIGUMA_ENVOY_LOG_LEVEL", value_name = "LEVEL", default_value = "warning",
        value_parser = ["trace", "debug", "info", "warning", "error", "critical"])]
    pub envoy_log_level: String,
}

/// `30s`, `2m`: Envoy takes whole seconds.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    let seconds = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(seconds), _) => seconds.parse().ok(),
        (_, Some(minutes)) => minutes.parse::<u64>().ok().and_then(|m| m.checked_mul(60)),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds <= MAX_DRAIN_SECONDS => Ok(Duration::from_secs(seconds)),
        Some(_) => Err(format!("at most {MAX_DRAIN_SECONDS}s")),
        None => Err("whole seconds or minutes, such as 5s or 2m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Dp {
        #[command(flatten)]
        run: RunArgs,
    }

    const REQUIRED: [&str; 5] = ["dp", "--dataplane-file", "web.yaml", "--cp", "a:1,b:2"];

    #[test]
    fn defaults_are_those_of_a_sidecar() {
        let args = Dp::try_parse_from(REQUIRED).expect("valid").run;
        assert_eq!(args.proxy.cp, ["a:1", "b:2"]);
        assert_eq!(args.proxy.drain_time, Duration::from_secs(5));
        assert_eq!(args.proxy.diagnostics.to_string(), "127.0.0.1:5680");
        assert_eq!((args.proxy.admin, args.proxy.concurrency), (None, 2));
        assert!(!args.proxy.plaintext);
    }

    #[test]
    fn every_flag_has_its_variable() {
        let command = <Dp as clap::CommandFactory>::command();
        for flag in command.get_arguments().filter(|flag| flag.get_id() != "help") {
            let long = flag.get_long().expect("only long flags");
            let variable = format!("HIGUMA_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(flag.get_env().and_then(|v| v.to_str()), Some(&*variable), "--{long}");
        }
    }

    #[test]
    fn bad_values_are_explained() {
        struct Case {
            flag: [&'static str; 2],
            says: &'static str,
        }
        let cases = [
            Case {
                flag: ["--drain-time", "5"],
                says: "whole seconds or minutes, such as 5s or 2m",
            },
            Case { flag: ["--drain-time", "0.5s"], says: "whole seconds or minutes" },
            Case { flag: ["--drain-time", "90m"], says: "at most 3600s" },
            Case { flag: ["--concurrency", "0"], says: "0 is not in 1..=256" },
            Case { flag: ["--admin", "localhost"], says: "invalid socket address" },
            Case { flag: ["--envoy-log-level", "loud"], says: "possible values: trace" },
        ];
        for case in cases {
            let error = Dp::try_parse_from(REQUIRED.iter().chain(&case.flag)).expect_err("bad");
            assert!(error.to_string().contains(case.says), "{:?}: {error}", case.flag);
        }
    }
}
