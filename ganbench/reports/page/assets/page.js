"use strict";
// All that moves on the page. Text of records only ever enters as text, in charts through `plain`.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse($("#data").textContent);
  const FEW = 7, DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "star", "hexagon"];
  const AXES = {
    images: "real images served", updates: "updates of G", seconds: "seconds of training", flops: "FLOPs of training",
  };
  const ENDED = { diverged: "diverged", error: "ended in an error", killed: "killed or still running" };

  /** Text as Plotly must be given it, which takes some tags for markup. */
  const plain = (text) => String(text).replace(/[&<>]/g, (mark) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[mark]);
  const make = (tag, facts = {}, ...inside) => {
    const made = Object.assign(document.createElement(tag), facts);
    made.append(...inside);
    return made;
  };
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = (value) => (value === null ? "not finite" : Number(value.toPrecision(4)).toLocaleString("en"));

  // ---- which comparison is shown -------------------------------------------------------------------------------

  const pages = $$(".page");
  function go() {
    const target = document.getElementById(location.hash.slice(1));
    const page = target?.closest(".page") ?? (target && pages.find((each) => !each.hidden)) ?? pages[0];
    for (const each of pages) each.hidden = each !== page;
    for (const link of $$(".tabs a")) {
      if (link.hash === `#${page.id}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    for (let each = target; each; each = each.parentElement) if (each.matches("details")) each.open = true;
    if (target && target !== page) target.scrollIntoView();
    else if (target) scrollTo(0, 0);
  }
  addEventListener("hashchange", go);

  // ---- tables --------------------------------------------------------------------------------------------------

  function cellOf(body, column) {
    return $(column === "name" ? "th.name" : `td[data-c="${column}"]`, body);
  }

  /** Put the best first, or the worst; rows without a value come last, runs of before and controls below others. */
  function sort(table, head) {
    const best = head.getAttribute("aria-sort") !== "ascending", column = head.dataset.c;
    const keyed = $$("tbody[data-row]", table).map((body) => {
      const cell = cellOf(body, column), place = Number(cell.dataset.p);
      return [Number(body.dataset.group), cell.textContent.trim() === "–" ? 1 : 0, best ? place : -place, body];
    });
    keyed.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
    const real = $("tbody.real", table);
    for (const [, , , body] of keyed) table.insertBefore(body, real);
    for (const each of $$("thead th", table)) each.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", best ? "ascending" : "descending");
  }

  function showColumns(board) {
    for (const box of $$(".columns input", board)) {
      for (const each of $$(`.comparison [data-c="${box.dataset.c}"], .protocol[data-c="${box.dataset.c}"]`, board)) {
        each.hidden = !box.checked;
      }
    }
  }

  function prepareTable(board) {
    $(".tools", board).hidden = false;
    for (const button of $$("button.sort", board)) {
      button.addEventListener("click", () => sort(button.closest("table"), button.closest("th")));
    }
    const boxes = $$(".columns input", board), first = boxes.map((box) => box.checked);
    for (const box of boxes) box.addEventListener("change", () => showColumns(board));
    for (const button of $$("[data-columns]", board)) {
      button.addEventListener("click", () => {
        boxes.forEach((box, place) => { box.checked = button.dataset.columns === "all" || first[place]; });
        showColumns(board);
      });
    }
    showColumns(board);
  }

  // ---- rows shown in pictures and figures ----------------------------------------------------------------------

  const picked = new Map();
  function pick(board) {
    const rows = $$("tbody[data-row]", board).filter((body) => $(".pick", body)?.checked);
    picked.set(board.id, new Set(rows.map((body) => Number(body.dataset.row))));
    for (const each of $$(".samples [data-row]", board)) each.hidden = !isShown(board.id, Number(each.dataset.row), each);
    for (const figure of figures) if (figure.board === board.id && figure.drawn) draw(figure);
  }
  /** Controls cannot be chosen: their samples are always there. */
  const isShown = (board, row) => picked.get(board).has(row) || !$(`#${board} tbody[data-row="${row}"] .pick`);

  function preparePicks(board) {
    const boxes = $$(".pick", board);
    const choose = (which) => boxes.forEach((box, place) => {
      box.checked = which === "all" || (which === "first" && place < FEW);
    });
    for (const box of boxes) {
      box.hidden = false;
      box.addEventListener("change", () => pick(board));
    }
    for (const button of $$("[data-pick]", board)) {
      button.addEventListener("click", () => {
        // the first as the table stands now
        boxes.sort((a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
        choose(button.dataset.pick);
        pick(board);
      });
    }
    choose(boxes.length <= FEW + 1 ? "all" : "first");
    pick(board);
  }

  // ---- figures -------------------------------------------------------------------------------------------------

  const figures = [];
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        const figure = figures.find((each) => each.plot === entry.target);
        seen.unobserve(entry.target);
        draw(figure);
      }
    }
  }, { rootMargin: "200px" });

  function select(label, options, chosen, changed) {
    const list = make("select", {}, ...options.map(([value, text]) => make("option", { value, textContent: text })));
    list.value = chosen;
    list.addEventListener("change", () => changed(list.value));
    return make("label", {}, make("span", { textContent: label }), list);
  }
  function tick(label, chosen, changed) {
    const box = make("input", { type: "checkbox", checked: chosen });
    box.addEventListener("change", () => changed(box.checked));
    return make("label", {}, box, make("span", { textContent: label }));
  }

  /** Make an empty figure with its controls; it is drawn when it comes into view. */
  function addFigure(grid, kind, title, names, chosen) {
    const figure = {
      board: grid.dataset.section, kind, quantity: chosen, over: kind === "cost" ? "flops" : "images",
      runs: false, log: null, drawn: false, plot: make("div", { className: "plot" }),
    };
    const overs = kind === "cost" ? Object.keys(AXES) : ["images", "updates", "seconds"];
    const change = (name) => (value) => {
      figure[name] = value;
      if (name === "quantity") figure.log = null;
      draw(figure);
    };
    figure.scale = tick("log axis", false, change("log"));
    const controls = make("div", { className: "controls" },
      select(kind === "cost" ? "quality" : "quantity", names.map((name) => [name, name]), chosen, change("quantity")),
      select("over", overs.map((over) => [over, AXES[over]]), figure.over, change("over")),
      figure.scale, ...(kind === "cost" ? [] : [tick("every run", false, change("runs"))]));
    const saves = make("div", { className: "saves" }, ...["svg", "png"].map((format) => {
      const button = make("button", { type: "button", textContent: `Save ${format.toUpperCase()}` });
      button.dataset.save = format;
      button.addEventListener("click", () => save(figure, format));
      return button;
    }));
    figure.note = make("p", { className: "quiet" });
    figure.plot.setAttribute("role", "img");
    figure.plot.setAttribute("aria-label", title);
    grid.append(make("figure", {}, make("figcaption", { textContent: title }), controls, figure.plot, figure.note, saves));
    figures.push(figure);
    seen.observe(figure.plot);
  }

  function prepareFigures(grid) {
    const of = data[grid.dataset.section], names = Object.keys(of.curves);
    const kinds = { grad_norm: [], loss: [], log: [], metric: [] };
    for (const name of Object.keys(of.quantities)) {
      if (names.includes(name)) (kinds[name.includes("/") ? name.split("/")[0] : "metric"] ?? kinds.metric).push(name);
    }
    if (kinds.metric.length) addFigure(grid, "curve", "Quality over training", kinds.metric, kinds.metric[0]);
    const costs = Object.keys(of.costs);
    if (costs.length) addFigure(grid, "cost", "Cost and quality", costs, costs[0]);
    for (const name of kinds.grad_norm) {
      if (/\/[GD]$/.test(name)) addFigure(grid, "curve", `Gradient norm of ${name.at(-1)}`, kinds.grad_norm, name);
    }
    if (kinds.grad_norm.length && !kinds.grad_norm.some((name) => /\/[GD]$/.test(name))) {
      addFigure(grid, "curve", "Gradient norm", kinds.grad_norm, kinds.grad_norm[0]);
    }
    const loss = kinds.loss.find((name) => name.endsWith("/G")) ?? kinds.loss[0];
    if (loss) addFigure(grid, "curve", "Losses, which no two variants share", kinds.loss, loss);
    if (kinds.log.length) addFigure(grid, "curve", "What variants log", kinds.log, kinds.log[0]);
  }

  const style = (row) => ({ color: css(`--c${row % 7}`), dash: DASHES[Math.floor(row / 7) % 6] });
  const faint = (color) => `${color}33`;

  function draw(figure) {
    const of = data[figure.board];
    const made = figure.kind === "cost" ? costFigure(figure, of) : curveFigure(figure, of);
    const ink = css("--ink"), line = css("--line");
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, hoverformat: ".4g" };
    const room = 20 * legendLines(made.traces, figure.plot.clientWidth - 70);
    const layout = {
      margin: { l: 56, r: 12, t: 8, b: 52 + room }, height: 340 + room, hovermode: "closest", showlegend: made.legend,
      paper_bgcolor: css("--card"), plot_bgcolor: css("--card"), font: { color: ink, size: 12, family: css("--font") },
      legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", font: { size: 11 } }, hoverlabel: { namelength: -1 },
      xaxis: { ...axis, title: { text: AXES[figure.over] }, type: made.xlog ? "log" : "linear", rangemode: "tozero" },
      yaxis: { ...axis, title: { text: plain(made.title) }, type: figure.log ? "log" : "linear" },
    };
    if (layout.xaxis.type === "log") Object.assign(layout.xaxis, ticks(made.traces, "x"));
    if (figure.over === "flops") layout.xaxis.tickformat = "~s"; // as the table has them: 510G
    if (layout.yaxis.type === "log") Object.assign(layout.yaxis, ticks(made.traces, "y"));
    figure.made = { data: made.traces, layout };
    figure.drawn = true;
    $("input", figure.scale).checked = figure.log;
    figure.note.textContent = made.note;
    figure.plot.setAttribute("aria-label", `${made.title} over ${AXES[figure.over]}. ${made.told}`);
    return Plotly.react(figure.plot, made.traces, layout, { displayModeBar: false, responsive: true });
  }

  /** How many lines the names of traces take side by side. */
  function legendLines(traces, width) {
    let lines = 1, used = 0;
    for (const trace of traces) {
      if (trace.showlegend === false || !trace.name) continue;
      const wide = 52 + 6.4 * trace.name.length;
      if (used + wide > width) [lines, used] = [lines + 1, 0];
      used += wide;
    }
    return lines;
  }

  /** How a log axis is marked: 1, 2, 5 where it spans few powers of ten. */
  function ticks(traces, axis) {
    const [low, high] = ends(traces.flatMap((trace) => trace[axis]).filter((value) => value > 0).map(Math.log10));
    const marks = { dtick: high - low < 2.5 ? "D2" : Math.max(1, Math.ceil((high - low) / 8)) };
    return low < -5 || high > 6 ? { ...marks, exponentformat: "power" } : { ...marks, tickformat: "~g" };
  }

  /** The least and the largest of numbers, of which there may be more than a call takes. */
  const ends = (numbers) => numbers.reduce(([low, high], each) => [Math.min(low, each), Math.max(high, each)], [Infinity, -Infinity]);

  /** Whether values that are all above zero spread so far that only a log axis shows them. */
  function wide(values, ratio = 10) {
    const [low, high] = ends(values.filter((value) => value !== null));
    return low > 0 && high > ratio * low;
  }

  function curveFigure(figure, of) {
    const { bands, runs } = of.curves[figure.quantity]?.[figure.over] ?? { bands: [], runs: [] };
    const facts = of.quantities[figure.quantity], isTrace = figure.quantity.includes("/");
    const mine = (each) => isShown(figure.board, each[0]);
    const some = bands.filter(mine).sort((a, b) => a[0] - b[0]), single = runs.filter(mine);
    const values = [...some.map((band) => of.pool[band[2]]), ...single.map((run) => of.pool[run[3]])].flat();
    if (figure.log === null) figure.log = figure.quantity.startsWith("grad_norm/") || wide(values);
    const lows = some.flatMap((band) => (band[3] === null ? [] : of.pool[band[3]]));
    const floor = [...values, ...lows, facts.real].reduce((low, value) => (value > 0 ? Math.min(low, value) : low), Infinity);
    const traces = [], named = new Set(), told = [];
    const entry = (row) => {
      const first = !named.has(row);
      named.add(row);
      return { name: plain(of.rows[row].name), legendgroup: String(row), showlegend: first, hoverinfo: "x+y+name" };
    };
    for (const [row, x, , low, high] of some) {
      if (low !== null) traces.push(area(of, x, low, high, row, figure.log ? floor : null));
    }
    for (const [row, x, mean] of some) {
      const y = of.pool[mean], { color, dash } = style(row);
      traces.push({ ...entry(row), x: of.pool[x], y, mode: isTrace ? "lines" : "lines+markers",
        line: { color, dash, width: 2 }, marker: { color, size: 6, symbol: SYMBOLS[Math.floor(row / 7) % 6] } });
      told.push(`${of.rows[row].name} ${number(y.at(-1) ?? null)}`);
    }
    for (const [row, seed, x, y, ended, fell] of single) {
      const xs = of.pool[x], ys = of.pool[y], { color } = style(row);
      if (figure.runs || ended) {
        traces.push({ ...entry(row), x: xs, y: ys, mode: isTrace ? "lines" : "lines+markers", opacity: 0.6,
          line: { color, width: 1, dash: ended ? "dot" : "solid" }, marker: { color, size: 4 } });
      }
      const gap = ys.indexOf(null), last = (gap < 0 ? ys.length : gap) - 1;
      if (ended || gap >= 0) {
        const why = ended ? ENDED[ended] ?? ended : "not finite from here on";
        const at = Math.max(last, 0);
        traces.push({ ...entry(row), x: [xs[at]], y: [ys[at] ?? 0], mode: "markers", hoverinfo: "text",
          hovertext: plain(`${of.rows[row].name}, seed ${seed}: ${why}`),
          marker: { color, size: 11, symbol: "x", line: { color: css("--card"), width: 1 } } });
        told.push(`${of.rows[row].name}, seed ${seed}, ${why}`);
      }
      if (fell !== null) {
        const what = `${of.rows[row].name}, seed ${seed}: collapsed, twice as bad as its best before or worse from here on`;
        traces.push({ ...entry(row), x: [xs[fell]], y: [ys[fell]], mode: "markers", hoverinfo: "text", hovertext: plain(what),
          marker: { color, size: 10, symbol: "triangle-down", line: { color: css("--card"), width: 1 } } });
        told.push(what);
      }
    }
    const cut = figure.log && lows.some((low) => low !== null && low <= 0);
    const hidden = figure.log ? values.filter((value) => value !== null && value <= 0).length : 0;
    if (facts.real !== undefined && facts.real !== null && traces.length) {
      const way = ends(traces.flatMap((trace) => trace.x).filter((value) => value !== null));
      traces.push({ x: way, y: [facts.real, facts.real], mode: "lines",
        name: "real data", line: { color: css("--quiet"), width: 1.5, dash: "dot" }, hoverinfo: "y+name" });
      told.push(`real data ${number(facts.real)}`);
    }
    const nothing = traces.length ? "" : "None of the rows chosen in the table has it. ";
    return {
      traces, legend: traces.length > 0, xlog: false,
      title: figure.quantity + (facts.arrow ?? ""), told: told.length ? `At the end: ${told.join("; ")}.` : nothing,
      note: nothing + (hidden ? `${hidden} points at or below zero cannot stand on a log axis. ` : "")
        + (cut ? "Intervals that reach zero or less are cut at the lowest value shown." : ""),
    };
  }

  /** The interval around a mean as one closed line; it ends where an interval does. */
  function area(of, x, low, high, row, floor) {
    const xs = of.pool[x], lows = of.pool[low], highs = of.pool[high], path = [[], []];
    const close = (from, to) => {
      if (to <= from) return;
      const there = Array.from({ length: to - from }, (_, place) => from + place), back = [...there].reverse();
      const down = (place) => (floor === null ? lows[place] : Math.max(lows[place], Math.min(floor, highs[place])));
      path[0].push(...there.map((place) => xs[place]), ...back.map((place) => xs[place]), null);
      path[1].push(...there.map((place) => highs[place]), ...back.map(down), null);
    };
    let from = 0;
    for (let place = 0; place <= xs.length; place += 1) {
      if (place === xs.length || lows[place] === null || highs[place] === null) {
        close(from, place);
        from = place + 1;
      }
    }
    return { x: path[0], y: path[1], fill: "toself", fillcolor: faint(style(row).color), line: { width: 0 },
      mode: "lines", hoverinfo: "skip", showlegend: false, legendgroup: String(row) };
  }

  function costFigure(figure, of) {
    const points = of.costs[figure.quantity][figure.over], facts = of.quantities[figure.quantity] ?? {};
    if (figure.log === null) figure.log = wide(points.map((point) => point[2]));
    const front = points.filter((point) => point[4]).sort((a, b) => a[1] - b[1]);
    const traces = [{ x: front.map((point) => point[1]), y: front.map((point) => point[2]), mode: "lines",
      name: "Pareto front", line: { color: css("--quiet"), width: 1.5, shape: "hv" }, hoverinfo: "skip" }];
    for (const [row, cost, value, half, leads] of [...points].sort((a, b) => a[0] - b[0])) {
      const chosen = isShown(figure.board, row), color = chosen ? style(row).color : css("--quiet");
      traces.push({ x: [cost], y: [value], name: plain(of.rows[row].name), mode: "markers", showlegend: chosen,
        cliponaxis: false, hoverinfo: "x+y+name", opacity: chosen ? 1 : 0.6,
        error_y: { type: "data", array: [half ?? 0], visible: half !== null && chosen, color, thickness: 1, width: 3 },
        marker: { color, size: leads ? 10 : 8, symbol: SYMBOLS[Math.floor(row / 7) % 6],
          line: { color: css("--ink"), width: leads ? 1.5 : 0 } } });
    }
    const leading = front.map((point) => of.rows[point[0]].name).join(", ");
    return {
      traces, legend: true, xlog: wide(points.map((point) => point[1])),
      title: figure.quantity + (facts.arrow ?? ""),
      told: front.length ? `On the Pareto front: ${leading}.` : "",
      note: front.length ? `On the front, with outlines, since none is better for as much or less: ${leading}. `
        + "Rows with failed runs take no part." : "There is no front: rows have failed runs.",
    };
  }

  /** Save a figure as a file; what is drawn is written anew with its title. */
  async function save(figure, format) {
    if (!figure.drawn) await draw(figure);
    const of = data[figure.board], name = `${figure.quantity} over ${AXES[figure.over]}`;
    const title = { text: plain(name), font: { size: 15 } }, { layout } = figure.made;
    const size = { width: 900, height: Math.max(520, layout.height + 60) };
    const whole = { data: figure.made.data, layout: { ...layout, ...size, title, margin: { ...layout.margin, t: 48 } } };
    const url = await Plotly.toImage(whole, { format, ...size, scale: format === "png" ? 2 : 1 });
    const file = `${figure.board}-${name}.${format}`.replace(/[^A-Za-z0-9.@_-]+/g, "-");
    make("a", { href: url, download: file }).click();
    return of && file;
  }

  // ---- themes, pictures, paper ---------------------------------------------------------------------------------

  const dark = matchMedia("(prefers-color-scheme: dark)"), switcher = $("button.theme");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  function themed() {
    switcher.setAttribute("aria-pressed", String(isDark()));
    for (const figure of figures) if (figure.drawn) draw(figure);
  }
  switcher.hidden = false;
  switcher.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    themed();
  });
  dark.addEventListener("change", themed);

  const zoom = $("dialog.zoom");
  for (const button of $$("button.look")) {
    button.addEventListener("click", () => {
      const image = $("img", button), large = $("img", zoom);
      large.src = image.src;
      large.alt = image.alt;
      $("p", zoom).textContent = image.alt;
      zoom.showModal();
    });
  }
  /** On paper all is light, figures are drawn and notes are open. */
  let before = null;
  addEventListener("beforeprint", () => {
    const root = document.documentElement, closed = $$(".under:not([open])");
    before = { theme: root.dataset.theme, closed };
    root.dataset.theme = "light";
    for (const each of closed) each.open = true;
    for (const figure of figures) if (figure.plot.offsetParent) draw(figure);
  });
  addEventListener("afterprint", () => {
    if (before.theme) document.documentElement.dataset.theme = before.theme;
    else delete document.documentElement.dataset.theme;
    for (const each of before.closed) each.open = false;
    themed();
  });

  for (const board of $$(".board")) {
    prepareTable(board);
    preparePicks(board);
  }
  for (const grid of $$(".grid")) prepareFigures(grid);
  themed();
  go();
})();
