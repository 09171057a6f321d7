"use strict";
(() => {
  const SHOWN = 20;
  const PRINTED_WIDTH = 690;
  const PRINTED_HALF = 340;
  const root = document.documentElement;
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  // Figures: drawn from the JSON beside them, in the colours of the theme that is shown.

  const paint = (trace) => {
    const chosen = colour(`role-${trace.meta.role}`);
    if (trace.line) trace.line.color = chosen;
    if (trace.error_x) trace.error_x.color = chosen;
    if (trace.marker) {
      trace.marker.color = chosen;
      if (trace.marker.line) trace.marker.line.color = trace.meta.edge ? colour(trace.meta.edge) : chosen;
      if (trace.marker.pattern) Object.assign(trace.marker.pattern, { bgcolor: chosen, fgcolor: colour("paper") });
    }
    return trace;
  };

  const dress = (layout, narrow) => {
    layout.font.color = colour("ink");
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: colour("raised"), bordercolor: colour("strong-line"), font: { color: colour("ink") } };
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: colour("ink") };
    for (const axis of [layout.xaxis, layout.yaxis]) {
      Object.assign(axis, { gridcolor: colour("line"), linecolor: colour("strong-line"), tickcolor: colour("strong-line") });
    }
    if (narrow) {
      layout.margin = { ...layout.margin, l: 52, r: 8 };
      for (const axis of [layout.xaxis, layout.yaxis]) axis.title.font = { ...axis.title.font, size: 12 };
    }
    return layout;
  };

  const draw = (printed = false) => {
    for (const source of document.querySelectorAll("script.figure-data")) {
      const target = document.getElementById(source.dataset.for);
      const { data, layout } = JSON.parse(source.textContent);
      const width = printed ? (target.closest(".pair") ? PRINTED_HALF : PRINTED_WIDTH) : target.clientWidth;
      if (printed) Object.assign(layout, { width, autosize: false });
      Plotly.react(target, data.map(paint), dress(layout, width < 480), {
        responsive: !printed,
        displaylogo: false,
        displayModeBar: "hover",
        plotlyServerURL: "",
        modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
        toImageButtonOptions: { format: "svg", filename: source.dataset.for },
      });
      // The caption says in words what is drawn; without it, every tick would be read out.
      for (const drawing of target.querySelectorAll(".main-svg")) drawing.setAttribute("aria-hidden", "true");
    }
  };

  // Tables: sorting within each group of rows, a filter by state, and the first rows at first.

  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };

  const prepare = (controls) => {
    const table = document.getElementById(controls.dataset.table);
    const select = controls.querySelector("select");
    const more = controls.querySelector("button.more");
    const live = controls.querySelector(".live");
    const heads = [...table.querySelectorAll("thead th[data-key]")];
    const rows = () => [...table.querySelectorAll("tr.trial")];
    let all = false;

    const show = (told) => {
      const chosen = rows().filter((row) => !select.value || row.dataset.state === select.value);
      const shown = new Set(all ? chosen : chosen.slice(0, SHOWN));
      for (const row of rows()) row.hidden = !shown.has(row);
      for (const group of table.querySelectorAll("tr.group")) {
        group.hidden = ![...group.parentElement.querySelectorAll("tr.trial")].some((row) => !row.hidden);
      }
      more.hidden = chosen.length <= SHOWN;
      more.textContent = all ? `Show the first ${SHOWN}` : `Show all ${chosen.length}`;
      live.textContent = `${told ? `${told} ` : ""}${shown.size} of ${rows().length} trials shown.`;
    };

    const sort = (head, button) => {
      const first = head.dataset.first;
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const column = head.cellIndex;
      const value = (row) => row.cells[column].dataset.value;
      for (const body of table.tBodies) {
        const sorted = [...body.querySelectorAll("tr.trial")].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === "" || y === "") return (x === "") - (y === "");
          return sign * compare(x, y);
        });
        body.append(...sorted);
      }
      show(`Sorted by ${button.textContent.trim()}, ${order}.`);
    };

    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent.trim();
      button.addEventListener("click", () => sort(head, button));
      head.replaceChildren(button);
    }
    select.addEventListener("change", () => show(""));
    more.addEventListener("click", () => {
      all = !all;
      show("");
    });
    controls.hidden = false;
    show("");
  };

  document.querySelectorAll(".controls[data-table]").forEach(prepare);
  if (matchMedia("(max-width: 62rem)").matches) document.querySelector(".contents details").open = false;
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());

  let opened = [];
  addEventListener("beforeprint", () => {
    root.dataset.theme = "print";
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
    draw(true);
  });
  addEventListener("afterprint", () => {
    delete root.dataset.theme;
    for (const details of opened) details.open = false;
    draw();
  });
})();
