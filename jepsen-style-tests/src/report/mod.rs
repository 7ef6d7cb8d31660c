//! stub
pub(crate) fn render(_: &std::path::Path) -> anyhow::Result<()> {
    Ok(())
}
