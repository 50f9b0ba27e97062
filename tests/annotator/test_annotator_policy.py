"""The page's policy holds in a browser: nothing of other hosts, nothing that is no file of it."""

from __future__ import annotations

TRY = """async () => {
  const refused = [];
  document.addEventListener("securitypolicyviolation", (event) =>
    refused.push(event.effectiveDirective));
  const put = (tag, more) =>
    document.body.append(Object.assign(document.createElement(tag), more));
  put("script", { textContent: "window.broken = true" });
  put("img", { src: "https://elsewhere.example/pixel.png" });
  put("iframe", { src: "https://elsewhere.example/" });
  put("style", { textContent: "body { color: red }" });
  document.body.setAttribute("style", "color: red");
  await fetch("https://elsewhere.example/").catch(() => {});
  setTimeout("window.broken = true");
  await new Promise((resolve) => setTimeout(resolve, 200));
  return [window.broken ?? false, refused];
}"""


def test_what_is_not_of_the_page_is_refused(browser, service):
    """Script and style that stand in the page, pictures, frames and answers of other hosts."""
    page = browser.new_page()
    page.goto(service.address)
    broken, refused = page.evaluate(TRY)
    page.close()
    assert broken is False
    assert set(refused) == {
        "connect-src",
        "frame-src",
        "img-src",
        "script-src",
        "script-src-elem",
        "style-src-attr",
        "style-src-elem",
    }
