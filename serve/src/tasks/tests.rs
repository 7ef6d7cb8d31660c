use super::*;

const DRAIN: Duration = Duration::from_millis(200);

type Task = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

async fn pending(stop: CancellationToken) -> anyhow::Result<()> {
    stop.cancelled().await;
    Ok(())
}

/// Invariant 14 of the design.
#[tokio::test]
async fn every_task_is_owned_and_one_that_ends_unexpectedly_ends_the_process_with_a_reason() {
    struct Case {
        name: &'static str,
        task: Task,
        want: &'static str,
    }
    let cases = [
        Case {
            name: "returns",
            task: Box::pin(async { Ok(()) }),
            want: "task `kds` ended unexpectedly: it returned while it was still needed",
        },
        Case {
            name: "fails",
            task: Box::pin(async { Err(anyhow!("disk full").context("append")) }),
            want: "task `kds` ended unexpectedly: append: disk full",
        },
        Case {
            name: "panics",
            task: Box::pin(async { panic!("index {} out of bounds", 7) }),
            want: "task `kds` ended unexpectedly: panicked: index 7 out of bounds",
        },
    ];
    for case in cases {
        let mut tasks = Tasks::new();
        let stop = tasks.token();
        tasks.spawn("other", pending(stop.clone()));
        tasks.spawn("kds", case.task);
        let error = tasks.run_until_signal(DRAIN).await.expect_err(case.name);
        assert_eq!(format!("{error:#}"), case.want, "{}", case.name);
        assert!(stop.is_cancelled(), "{}: the other tasks were told to stop", case.name);
    }
}

#[tokio::test]
async fn cancelling_the_token_stops_in_order() {
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("a", pending(tasks.token()));
    tasks.spawn("b", pending(tasks.child_token()));
    stop.cancel();
    tasks.run_until_signal(DRAIN).await.expect("an orderly stop");
}

#[tokio::test]
async fn tasks_that_do_not_stop_are_aborted_and_named() {
    let mut tasks = Tasks::new();
    tasks.spawn("stuck", std::future::pending());
    tasks.spawn("fine", pending(tasks.token()));
    tasks.token().cancel();
    let error = tasks.run_until_signal(DRAIN).await.expect_err("stuck");
    assert_eq!(format!("{error:#}"), "aborted tasks that had not stopped after 200ms: stuck");
}

#[tokio::test]
async fn a_failure_while_stopping_is_reported() {
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("store", {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            Err(anyhow!("last sync failed"))
        }
    });
    stop.cancel();
    let error = tasks.run_until_signal(DRAIN).await.expect_err("store");
    assert_eq!(format!("{error:#}"), "task `store`: last sync failed");
}
