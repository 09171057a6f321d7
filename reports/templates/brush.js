
(() => {
  // Parallel coordinates: a brush on each axis, by pointer or keyboard, and the best ones alone.

  const NAMED = 8;
  const STEP = 2;
  const PAGE = 10;

  const words = (axis, percent) => {
    const { log, numbers, stops } = JSON.parse(axis.dataset.axis);
    if (numbers && (percent >= numbers[0] - 1 || !stops.length)) {
      const [start, end, low, high] = numbers;
      const share = Math.min(1, Math.max(0, (percent - start) / (end - start)));
      const value = log ? low * (high / low) ** share : low + share * (high - low);
      return "percent" in axis.dataset ? `${(100 * value).toFixed(1)} %` : `${Number(value.toPrecision(3))}`;
    }
    const near = stops.reduce((a, b) => (Math.abs(b[0] - percent) < Math.abs(a[0] - percent) ? b : a));
    return near[1];
  };

  const prepare = (box) => {
    const controls = box.querySelector(".controls");
    const live = controls.querySelector(".live");
    const lines = [...box.querySelectorAll("polyline")].map((line) => ({
      line,
      rank: Number(line.dataset.rank),
      at: line.getAttribute("points").split(" ").map((point) => Number(point.split(",")[0]) / 10),
    }));
    const brushes = [...box.querySelectorAll(".axis")].map((axis) => ({ axis, low: 0, high: 100 }));
    const radios = [...controls.querySelectorAll("input")];

    const show = () => {
      const few = radios.find((radio) => radio.checked && radio.value);
      const drawn = few ? lines.filter(({ rank }) => rank <= Number(few.value)) : lines;
      const inside = drawn.filter(({ at }) => brushes.every(({ low, high }, i) => at[i] >= low && at[i] <= high));
      for (const each of lines) {
        each.line.toggleAttribute("hidden", !drawn.includes(each));
        each.line.classList.toggle("out", !inside.includes(each));
      }
      const brushed = brushes.filter(({ low, high }) => low > 0 || high < 100).length;
      const names = [...inside].sort((a, b) => a.rank - b.rank).map(({ line }) => line.dataset.trial);
      const told = names.length > NAMED ? `${names.slice(0, NAMED).join(", ")} and others` : names.join(", ");
      live.textContent = brushed ? `${names.length} of ${drawn.length} trials pass${told ? `: ${told}` : ""}.` : `${drawn.length} trials drawn.`;
    };

    const place = (brush) => {
      for (const [end, thumb] of Object.entries(brush.thumbs)) {
        const at = brush[end];
        thumb.style.left = `${at}%`;
        thumb.classList.toggle("set", end === "low" ? at > 0 : at < 100);
        thumb.setAttribute("aria-valuenow", Math.round(at));
        thumb.setAttribute("aria-valuemin", Math.round(end === "low" ? 0 : brush.low));
        thumb.setAttribute("aria-valuemax", Math.round(end === "low" ? brush.high : 100));
        thumb.setAttribute("aria-valuetext", words(brush.axis, at));
      }
      const whole = brush.low <= 0 && brush.high >= 100;
      Object.assign(brush.bar.style, { left: `${brush.low}%`, right: `${100 - brush.high}%`, display: whole ? "none" : "" });
    };

    const set = (brush, low, high) => {
      brush.low = Math.max(0, Math.min(low, high));
      brush.high = Math.min(100, Math.max(low, high));
      place(brush);
      show();
    };

    const move = (brush, end, to) => {
      if (end === "low") set(brush, Math.min(to, brush.high), brush.high);
      else set(brush, brush.low, Math.max(to, brush.low));
    };

    const press = (brush, end) => (event) => {
      const at = brush[end];
      const to = {
        ArrowLeft: at - STEP, ArrowDown: at - STEP, ArrowRight: at + STEP, ArrowUp: at + STEP,
        PageDown: at - PAGE, PageUp: at + PAGE, Home: 0, End: 100,
      }[event.key];
      if (event.key === "Escape") set(brush, 0, 100);
      else if (to === undefined) return;
      else move(brush, end, to);
      event.preventDefault();
    };

    const drag = (brush, strip) => (event) => {
      if (event.button) return;
      const room = strip.getBoundingClientRect();
      const where = (e) => Math.min(100, Math.max(0, (100 * (e.clientX - room.left)) / room.width));
      const from = where(event);
      const end = Object.keys(brush.thumbs).find((name) => brush.thumbs[name] === event.target);
      const to = (e) => (end ? move(brush, end, where(e)) : set(brush, from, where(e)));
      const stop = () => {
        strip.removeEventListener("pointermove", to);
        // A click without a way takes the brush away.
        if (!end && brush.high - brush.low < 1) set(brush, 0, 100);
      };
      strip.setPointerCapture(event.pointerId);
      strip.addEventListener("pointermove", to);
      strip.addEventListener("lostpointercapture", stop, { once: true });
    };

    for (const brush of brushes) {
      const strip = brush.axis.querySelector(".strip");
      brush.bar = document.createElement("i");
      brush.thumbs = {};
      for (const [end, said] of [["low", "from"], ["high", "to"]]) {
        const thumb = document.createElement("b");
        thumb.tabIndex = 0;
        thumb.setAttribute("role", "slider");
        thumb.setAttribute("aria-orientation", "horizontal");
        thumb.setAttribute("aria-label", `${brush.axis.dataset.name}, ${said}`);
        thumb.addEventListener("keydown", press(brush, end));
        brush.thumbs[end] = thumb;
      }
      strip.append(brush.bar, ...Object.values(brush.thumbs));
      strip.classList.add("live");
      strip.addEventListener("pointerdown", drag(brush, strip));
      place(brush);
    }
    for (const radio of radios) radio.addEventListener("change", show);
    controls.querySelector(".clear").addEventListener("click", () => {
      for (const brush of brushes) set(brush, 0, 100);
    });
    controls.hidden = false;
    show();
  };

  document.querySelectorAll(".parallel").forEach(prepare);
})();
