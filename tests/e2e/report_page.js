// What tests/e2e/test_report_page.py asks of a page: each check returns what is wrong, as a list of texts.
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const name = (element) => `${element.tagName.toLowerCase()}.${element.className} "${element.textContent.trim().slice(0, 40)}"`;
  const screenWidth = Math.min(innerWidth, document.documentElement.clientWidth);
  const seen = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });

  function texts() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (!node.data.trim() || node.parentElement.closest("svg") || !seen(node.parentElement)) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      found.push({ element: node.parentElement, box: range.getBoundingClientRect() });
    }
    return found;
  }

  // Colour as red, green, blue from 0 to 255 and opacity.
  function colour(text) {
    const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
    return [red, green, blue, alpha];
  }
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  function background(element) {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(colour(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  }
  // Contrast as WCAG 2.2 defines it.
  function luminance(rgb) {
    const [red, green, blue] = rgb.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }
  function contrast(element) {
    const below = background(element);
    const front = over(colour(getComputedStyle(element).color), below);
    const [high, low] = [luminance(front), luminance(below)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  }

  const checks = {
    scrolls_sideways() {
      // A phone zooms out to what does not fit, and its innerWidth grows with that.
      const { scrollWidth } = document.documentElement;
      return scrollWidth <= screenWidth ? [] : [`${scrollWidth} pixels wide on a screen of ${screenWidth}`];
    },
    hidden_headings() {
      const bare = all("section").filter((section) => !section.querySelector("h2"));
      const lost = all("h1, h2").filter((head) => {
        const box = head.getBoundingClientRect();
        return !seen(head) || box.width < 1 || box.height < 1 || box.left < 0 || box.right > screenWidth;
      });
      return [...bare, ...lost].map(name);
    },
    faint_text() {
      return texts()
        .filter(({ element }) => contrast(element) < 4.5)
        .map(({ element }) => `${name(element)}: ${contrast(element).toFixed(2)}`);
    },
    empty_charts() {
      const charts = all(".bar, .map, .lanes, .lane, .arena, .plot svg");
      const marks = all(".bar > i, .map > i, .lane > .work, .lane > .late, .arena > i, .plot path");
      const flat = (element) => {
        const { width, height } = element.getBoundingClientRect();
        return element.tagName === "path" ? !element.getTotalLength() && !element.matches(".dots") : !width || !height;
      };
      return charts.length && marks.length ? [...charts, ...marks].filter(flat).map(name) : ["no charts"];
    },
    escaping_text() {
      const holders = "td, th, li, p, h1, h2, h3, summary, figcaption, caption, footer, .axis, .rows";
      return texts()
        .filter(({ element, box }) => {
          const near = [element.closest(holders)];
          // What is in a table may lie beyond the section: that scrolls.
          if (!element.closest(".scroll")) near.push(element.closest("section, header, nav, footer"));
          return near.some((holder) => {
            const { left, right } = holder.getBoundingClientRect();
            return box.left < left - 1 || box.right > right + 1;
          });
        })
        .map(({ element }) => name(element));
    },
    escaping_boxes() {
      return all("section .scroll, section .map, .lanes, .plot, .arena, .conclusion, nav ul")
        .filter((element) => {
          const box = element.getBoundingClientRect();
          const holder = element.parentElement.closest("section, header, nav").getBoundingClientRect();
          return box.left < holder.left - 1 || box.right > holder.right + 1;
        })
        .map(name);
    },
    overlapping_marks() {
      return all(".axis").flatMap((axis) => {
        const boxes = [...axis.children].map((mark) => mark.getBoundingClientRect());
        return boxes.slice(1).some((box, i) => box.left < boxes[i].right) ? [name(axis)] : [];
      });
    },
  };
  all("details").forEach((details) => { details.open = true; });
  return Object.fromEntries(Object.entries(checks).map(([check, run]) => [check, run()]));
})();
