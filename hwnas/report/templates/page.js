// Tooltips of the figures' points, and opening what a link leads to. Without this script the page
// has the same content: points carry a <title>, and folded parts open by hand.
(function () {
  "use strict";
  var tip = document.getElementById("tip");

  function show(point, x, y) {
    tip.textContent = "";
    point.getAttribute("data-tip").split("\n").forEach(function (line, number) {
      var part = document.createElement(number === 0 ? "strong" : "div");
      part.textContent = line;
      tip.appendChild(part);
    });
    tip.hidden = false;
    var box = tip.getBoundingClientRect(), margin = 8;
    var left = Math.min(x + 14, document.documentElement.clientWidth - box.width - margin);
    var top = y + 16 + box.height > window.innerHeight - margin ? y - box.height - 12 : y + 16;
    tip.style.left = Math.max(margin, left) + "px";
    tip.style.top = Math.max(margin, top) + "px";
  }

  function hide() { tip.hidden = true; }

  document.querySelectorAll(".point").forEach(function (point) {
    var title = point.querySelector("title");
    if (title) { title.remove(); } // else the browser shows it as well
    point.addEventListener("pointerenter", function (event) {
      show(point, event.clientX, event.clientY);
    });
    point.addEventListener("pointermove", function (event) {
      show(point, event.clientX, event.clientY);
    });
    point.addEventListener("pointerleave", hide);
    point.addEventListener("focus", function () {
      var box = point.getBoundingClientRect();
      show(point, box.right, box.bottom);
    });
    point.addEventListener("blur", hide);
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape") { hide(); }
  });
  window.addEventListener("scroll", hide, { passive: true });

  // a link into a folded part opens it
  function reveal() {
    var id = decodeURIComponent(location.hash.slice(1));
    var target = id && document.getElementById(id);
    if (!target) { return; }
    for (var node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") { node.open = true; }
    }
    target.scrollIntoView({ block: target.tagName === "TR" ? "center" : "start" });
  }
  window.addEventListener("hashchange", reveal);
  reveal();

  // the section in view is marked in the navigation
  var links = Array.prototype.slice.call(document.querySelectorAll("nav a[href^='#']"));
  if ("IntersectionObserver" in window) {
    var observer = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        if (!entry.isIntersecting) { return; }
        links.forEach(function (link) {
          var here = link.hash === "#" + entry.target.id;
          if (here) { link.setAttribute("aria-current", "true"); }
          else { link.removeAttribute("aria-current"); }
        });
      });
    }, { rootMargin: "-10% 0px -80% 0px" });
    document.querySelectorAll("main section[id]").forEach(function (one) { observer.observe(one); });
  }

  window.addEventListener("beforeprint", hide);
})();
