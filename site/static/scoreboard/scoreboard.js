// The scoreboard: sorts the table by any column, and draws its rows as a chart. The table is the only data.
addEventListener("DOMContentLoaded", () => {
  const table = document.getElementById("rows");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const valueOf = (row, index) => row.cells[index].dataset.value ?? "";
  const numeric = heads.map((_, index) => [...body.rows].every((row) => !isNaN(valueOf(row, index))));
  const lines = [...body.rows].map((row) => ({ row, values: heads.map((_, index) => valueOf(row, index)) }));
  for (const { row } of lines)
    heads.forEach((_, index) => row.cells[index].classList.toggle("number", numeric[index]));

  // --- sort; an empty cell comes last, whichever way ----------------------------------------------------------------

  function sort(index) {
    const up = heads[index].getAttribute("aria-sort") !== "ascending";
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[index].setAttribute("aria-sort", up ? "ascending" : "descending");
    const compare = numeric[index] ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en");
    lines.sort(({ values: { [index]: a } }, { values: { [index]: b } }) =>
      a === "" || b === "" ? (a === "") - (b === "") : up ? compare(a, b) : compare(b, a),
    );
    body.append(...lines.map(({ row }) => row));
  }
  heads.forEach((head, index) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: head.textContent });
    button.addEventListener("click", () => sort(index));
    head.replaceChildren(button);
  });

  // --- choices --------------------------------------------------------------------------------------------------------

  const column = (name, machine) =>
    heads.findIndex(({ dataset }) => dataset.column === name && (!machine || dataset.machine === machine));
  const [dataSet, network, technique, variant, family, error] = "data-set network technique variant family error"
    .split(" ")
    .map((name) => column(name));
  const form = document.getElementById("choices");
  function choice(name, label, options) {
    const select = Object.assign(document.createElement("select"), { name });
    for (const [value, text] of options) select.add(new Option(text, value));
    const around = document.createElement("label");
    around.append(label, select);
    form.append(around);
    return select;
  }
  const named = (index) => [...new Set(lines.map(({ values }) => values[index]))].sort().map((value) => [value, value]);
  const machines = heads.filter(({ dataset }) => dataset.column === "time").map(({ dataset }) => dataset.machine);
  const across = choice("across", "across", [
    ["size", "size of the file, kB"],
    ["time", "time for an image, ms"],
  ]);
  const machine = choice("machine", "machine", machines.map((name) => [name, name]));
  const data = choice("data", "data set", named(dataSet));
  data.value = "MNIST";
  const kind = choice("family", "family", [["", "all"], ...named(family)]);
  const one = choice("network", "network", [["", "all"], ...named(network)]);
  const scale = choice("scale", "axes", [
    ["log", "logarithmic"],
    ["linear", "linear"],
  ]);
  form.hidden = false;

  // --- chart ----------------------------------------------------------------------------------------------------------

  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]; // as in the notebooks
  const MARKS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star", "triangle-left", "pentagon"];
  const families = named(family);
  const drawing = Object.assign(document.createElement("div"), { className: "drawing" });
  document.getElementById("chart").replaceChildren(drawing);
  drawing.setAttribute("role", "img");

  function draw() {
    const x = column(across.value, across.value === "time" ? machine.value : "");
    const chosen = [[dataSet, data], [family, kind], [network, one]];
    const fits = ({ values }) => chosen.every(([index, { value }]) => !value || values[index] === value);
    for (const line of lines) line.row.hidden = !fits(line);
    const points = lines.filter((line) => fits(line) && line.values[x] !== "" && line.values[error] !== "");
    const traces = families.map(([value, name], index) => {
      const own = points.filter(({ values }) => values[family] === value);
      return {
        name,
        mode: "markers",
        x: own.map(({ values }) => Number(values[x])),
        y: own.map(({ values }) => Number(values[error])),
        text: own.map(({ row }) => [network, technique, variant].map((i) => row.cells[i].textContent).filter(Boolean).join(", ")),
        hovertemplate: "%{text}<br>%{x:.3g}, %{y:.2f} %<extra></extra>",
        marker: { color: COLOURS[index % COLOURS.length], symbol: MARKS[index], size: 9, line: { color: "white", width: 1 } },
      };
    });
    const title = across.selectedOptions[0].textContent + (across.value === "time" ? `, ${machine.value}` : "");
    const axis = { type: scale.value, gridcolor: "#ddd", zeroline: false };
    const narrow = drawing.clientWidth < 600;
    const layout = {
      xaxis: { ...axis, title: { text: title } },
      yaxis: { ...axis, title: { text: "test error, %" } },
      margin: { l: 60, r: 10, t: 10, b: 50 },
      legend: narrow ? { orientation: "h", y: -0.3 } : {},
      hovermode: "closest",
    };
    drawing.setAttribute("aria-label", `Chart of ${points.length} rows: ${title}, against the test error; the table below has the numbers`);
    drawing.dataset.points = points.length;
    Plotly.react(drawing, traces.filter(({ x }) => x.length), layout, { displayModeBar: false, responsive: true });
  }
  form.addEventListener("change", draw);
  draw();
});
