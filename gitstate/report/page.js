// The grid of results by commits, the filters, and the panel of one stack. All
// that is shown is put in as text; the page's policy lets no other script run.
(async () => {

"use strict";
const $ = (id) => document.getElementById(id);
const make = (tag, cls, text) => {
	const e = document.createElement(tag);
	if (cls) e.className = cls;
	if (text !== undefined) e.textContent = text;
	return e;
};
const body = $("grid").tBodies[0];
let step = 15; // px from column to column
const PER = 6; // numbers of a result, as data.go has it

// ---- the stacks, as the table has them

let rows = [];
const byTR = new Map();
const readRows = () => {
	rows = [...body.rows].map((tr, i) => ({
		tr, i, status: tr.dataset.s, target: tr.dataset.g || "",
		text: tr.cells[1].textContent.toLowerCase(),
		tags: [...tr.cells[1].querySelectorAll("i:not(.tg)")].map((t) => t.textContent),
		hist: tr.cells[5],
	}));
	byTR.clear();
	for (const r of rows) {
		byTR.set(r.tr, r);
		r.tr.cells[1].firstElementChild.tabIndex = -1;
	}
};
// ---- times: absolute in the document, relative here, with the absolute on hover

const pad = (n) => String(n).padStart(2, "0");
const absolute = (d) => `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}`;
const relative = (d) => {
	const s = (Date.now() - d) / 1000;
	if (s < 0) return absolute(d);
	if (s < 60) return "just now";
	if (s < 3600) return Math.floor(s / 60) + " min ago";
	if (s < 48 * 3600) return Math.floor(s / 3600) + " h ago";
	return Math.floor(s / 86400) + " d ago";
};
const tellTimes = (root, both) => root.querySelectorAll("time").forEach((t) => {
	if (!t.dateTime) t.dateTime = t.textContent.replace(" ", "T");
	const d = new Date(t.dateTime);
	t.textContent = both ? `${absolute(d)} (${relative(d)})` : relative(d);
	t.title = absolute(d);
});
const took = (tenths) => {
	const s = tenths / 10;
	if (s < 60) return s.toFixed(1) + "s";
	if (s < 3600) return Math.floor(s / 60) + "m" + pad(Math.floor(s % 60)) + "s";
	return Math.floor(s / 3600) + "h" + pad(Math.floor(s / 60 % 60)) + "m";
};

// On a narrow screen the table is laid out as something else, and is to be read
// as a table all the same.
const narrow = matchMedia("(max-width:640px)");
const roles = () => {
	if (!narrow.matches || $("grid").hasAttribute("role")) return;
	$("grid").setAttribute("role", "table");
	for (const [tag, role] of [["thead,tbody", "rowgroup"], ["tr", "row"], ["td", "cell"], ["thead th", "columnheader"], ["tbody th", "rowheader"]])
		$("grid").querySelectorAll(tag).forEach((e) => e.setAttribute("role", role));
};
narrow.addEventListener("change", roles);

// ---- the data, which takes a moment to unpack

let data = null;
const unpack = async (el) => {
	if (el.type === "application/json") return JSON.parse(el.textContent);
	const bytes = Uint8Array.from(atob(el.textContent), (c) => c.charCodeAt(0));
	return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
};
const size = (i) => (data && data.rows[i] ? data.rows[i].length / PER : 0);
const runsOf = (i) => { // of each result; they are written as distances
	if (!runsOf.known[i]) for (let k = 0, at = 0, known = (runsOf.known[i] = []); k < size(i); k++) known.push(at += data.rows[i][k]);
	return runsOf.known[i];
};
runsOf.known = [];
const result = (i, k) => {
	const a = data.rows[i], n = size(i), run = data.runs[runsOf(i)[k]];
	return {
		k, commit: run[0], op: run[1], target: run[2], by: run[3], job: run[4], cmd: run[5], run: run[7], status: data.status[a[n + k]],
		at: new Date((run[6] + a[2 * n + k]) * 1000), took: a[3 * n + k], tries: a[4 * n + k], why: data.texts[a[5 * n + k]],
	};
};
const latest = (i) => (size(i) ? result(i, 0) : null);

// ---- filters; their state is in the address, so that a link to it can be sent

const q = $("q"), tag = $("tag"), target = $("target"), op = $("op"), sort = $("sort");
const picked = new Set();
const rank = ["failed", "interrupted", "blocked", "canceled", "drifted", "orphaned", "running", "queued", "triggered", "never", "ok"];
const when = (r) => { const t = r.tr.cells[2].querySelector("time"); return t ? t.dateTime : ""; };
const lasted = (r) => { const l = latest(r.i); return l ? l.took : -1; };
const orders = {
	path: (a, b) => a.i - b.i,
	status: (a, b) => rank.indexOf(a.status) - rank.indexOf(b.status) || a.i - b.i,
	when: (a, b) => (when(a) < when(b) ? 1 : when(a) > when(b) ? -1 : a.i - b.i),
	took: (a, b) => lasted(b) - lasted(a) || a.i - b.i,
};
let sorted = "path";
const arrange = () => {
	if (sort.value === sorted) return;
	sorted = sort.value;
	rows.sort(orders[sorted]);
	body.append(...rows.map((r) => r.tr));
};
// Of all stacks and results one can be reached by Tab; the arrows go on from there.
const places = ".name a[tabindex='0'],.c[tabindex='0']";
const rove = (anew) => {
	const now = body.querySelector(places);
	if (now && !now.closest("tr").hidden && (!anew || now === document.activeElement)) return;
	if (now) now.tabIndex = -1;
	const a = body.querySelector("tr:not([hidden]) .name a");
	if (a) a.tabIndex = 0;
};
const filter = () => {
	const words = q.value.toLowerCase().split(/\s+/).filter(Boolean);
	let n = 0;
	for (const r of rows) {
		const is = words.every((w) => r.text.includes(w)) && (!tag || !tag.value || r.tags.includes(tag.value)) &&
			(!target || !target.value || "=" + r.target === target.value) && (!picked.size || picked.has(r.status));
		if (r.tr.hidden === is) r.tr.hidden = !is;
		if (is) n++;
	}
	arrange();
	$("count").textContent = n === rows.length ? n + (n === 1 ? " stack" : " stacks") : `${n} of ${rows.length} stacks`;
	$("none").hidden = n > 0;
	rove(true);
	$("clear").hidden = !(q.value || picked.size || tag && tag.value || target && target.value);
	remember();
};
const remember = () => {
	const p = new URLSearchParams();
	if (q.value) p.set("q", q.value);
	if (tag && tag.value) p.set("tag", tag.value);
	if (target && target.value) p.set("target", target.value.slice(1));
	if (picked.size) p.set("status", [...picked].join(" "));
	if (op.selectedIndex > 0) p.set("show", op.value);
	if (sort.selectedIndex > 0) p.set("sort", sort.value);
	const to = p.size ? "#" + p : location.hash ? location.pathname + location.search : "";
	try { if (to) history.replaceState(null, "", to); } catch { /* a sandbox may forbid it */ }
};
const pick = (select, value) => { if (select && [...select.options].some((o) => o.value === value)) select.value = value; };
const recall = () => {
	const p = new URLSearchParams(location.hash.slice(1));
	q.value = p.get("q") || "";
	pick(tag, p.get("tag") || "");
	pick(target, p.has("target") ? "=" + p.get("target") : "");
	pick(op, p.get("show") || "deploy");
	pick(sort, p.get("sort") || "path");
	picked.clear();
	for (const s of (p.get("status") || "").split(" ")) if (s) picked.add(s);
	press();
};
const press = () => $("statuses").querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", picked.has(b.dataset.s)));
$("filter").addEventListener("submit", (e) => e.preventDefault());
q.addEventListener("input", filter);
for (const s of [tag, target, sort]) if (s) s.addEventListener("change", filter);
$("statuses").addEventListener("click", (e) => {
	const b = e.target.closest("button");
	if (!b) return;
	if (!picked.delete(b.dataset.s)) picked.add(b.dataset.s);
	press();
	filter();
});
$("clear").addEventListener("click", () => {
	q.value = "";
	for (const s of [tag, target]) if (s) s.value = "";
	picked.clear();
	press();
	filter();
	q.focus();
});
const live = document.documentElement.dataset.live;
let source = live ? [...body.rows].map((tr) => tr.outerHTML) : []; // of the rows, as they came
readRows();
roles();
const linked = /^#s(\d+)$/.exec(location.hash);
recall();
filter();
tellTimes(document.querySelector("header"), true);
tellTimes($("grid"));
tellTimes($("runs"));
performance.mark("interactive");

// ---- the grid: cells are made for the stacks that are in view

const deploys = new Set(["deploy", "destroy", "destroy-target"]);
// byCommit finds of each commit the newest result of the operation that is shown,
// and how many there are.
const byCommit = (i) => {
	const found = new Map(), of = runsOf(i);
	for (let k = 0; k < of.length; k++) {
		const run = data.runs[of[k]];
		if (op.value === "deploy" ? !deploys.has(run[1]) : run[1] !== op.value) continue;
		const old = found.get(run[0]);
		if (old) old.n++; else found.set(run[0], { k, n: 1 });
	}
	return found;
};

let first = 0, wide = 1, columns = []; // the commits that have results of the operation, or all
const inView = new Set();
const watch = new IntersectionObserver((entries) => {
	for (const e of entries) {
		const r = byTR.get(e.target);
		if (!r) continue;
		if (e.isIntersecting) { inView.add(r); draw(r); } else { inView.delete(r); if (!r.hist.contains(document.activeElement)) r.hist.replaceChildren(); }
	}
}, { rootMargin: "400px" });
const describe = (r, x, n) => [
	x.status + (x.op === "deploy" ? "" : " " + x.op), r.tr.cells[1].querySelector("a").textContent, "commit " + data.commits[x.commit][0] + " " + data.commits[x.commit][1],
	absolute(x.at), "by " + x.by, x.took ? "took " + took(x.took) : "", x.tries > 1 ? x.tries + " tries" : "", n > 1 ? n + " results on this commit" : "", x.why,
].filter(Boolean).join(", ");
const draw = (r) => {
	const focused = r.hist.contains(document.activeElement) ? document.activeElement.dataset.c : null;
	const box = make("div", "cells");
	box.setAttribute("role", "group");
	box.setAttribute("aria-label", "results of " + r.tr.cells[1].querySelector("a").textContent);
	const found = byCommit(r.i);
	for (let c = first; c < Math.min(first + wide, columns.length); c++) {
		const f = found.get(columns[c]);
		if (!f) continue;
		const x = result(r.i, f.k), b = make("button", "c s-" + x.status + (f.n > 1 ? " more" : ""));
		b.type = "button";
		b.style.left = (c - first) * step + "px";
		b.dataset.c = c;
		b.dataset.k = f.k;
		b.tabIndex = -1;
		b.setAttribute("aria-label", describe(r, x, f.n));
		box.append(b);
		if (focused === String(c)) queueMicrotask(() => { if (b.isConnected) focusOn(b); });
	}
	r.hist.replaceChildren(box);
	rove();
};
const redraw = () => {
	const all = op.value === "deploy" ? null : new Set(data.runs.filter((r) => r[1] === op.value).map((r) => r[0]));
	columns = data.commits.map((_, i) => i).filter((i) => !all || all.has(i));
	place();
};
const place = () => {
	const th = document.querySelector("#grid thead .hist"), style = getComputedStyle(th);
	const room = th.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) + 1;
	step = $("all").getAttribute("aria-pressed") === "true" ? Math.min(15, Math.max(3, Math.floor(room / Math.max(columns.length, 1)))) : 15;
	$("grid").style.setProperty("--w", step - 1 + "px");
	$("grid").classList.toggle("small", step < 15);
	wide = Math.max(1, Math.floor(room / step));
	first = Math.max(0, Math.min(first, columns.length - wide));
	const last = Math.min(first + wide, columns.length), day = (c) => new Date(data.commits[columns[c]][2] * 1000);
	$("newer").disabled = first === 0;
	$("older").disabled = last >= columns.length;
	$("window").textContent = columns.length ? `commits ${first + 1}–${last} of ${columns.length}` : "no commits";
	const axis = $("axis");
	axis.replaceChildren();
	let before = "", free = 0;
	for (let c = first; c < last; c++) {
		const d = day(c), label = d.toLocaleDateString(undefined, { day: "numeric", month: "short" });
		if (label === before) continue;
		before = label;
		if (c < free || (last - c) * step < label.length * 7) continue;
		const s = make("span", "", label);
		s.style.left = (c - first) * step + "px";
		axis.append(s);
		free = c + Math.ceil((label.length * 7 + 8) / step);
	}
	for (const r of inView) draw(r);
};
const go = (to) => { first = to; place(); };
$("newer").addEventListener("click", () => go(first - wide));
$("older").addEventListener("click", () => go(first + wide));
$("all").addEventListener("click", () => {
	$("all").setAttribute("aria-pressed", $("all").getAttribute("aria-pressed") !== "true");
	place();
});
op.addEventListener("change", () => { redraw(); remember(); });
$("grid").addEventListener("wheel", (e) => {
	const d = e.shiftKey ? e.deltaY : e.deltaX;
	if (!data || Math.abs(d) < 4 || !e.shiftKey && Math.abs(e.deltaX) < Math.abs(e.deltaY)) return;
	e.preventDefault();
	go(first + Math.sign(d) * 3);
}, { passive: false });

// ---- moving in it

const rowOf = (el) => byTR.get(el.closest("tbody tr"));
const focusOn = (el) => {
	body.querySelectorAll(places).forEach((o) => { o.tabIndex = -1; });
	el.tabIndex = 0;
	el.focus();
	el.scrollIntoView({ block: "nearest" });
};
// focusCell goes to the result in a column, which may be out of sight.
const focusCell = (r, c) => {
	if (c < first || c >= first + wide) go(c < first ? c : c - wide + 1);
	if (!r.hist.querySelector(`[data-c='${c}']`)) draw(r);
	focusOn(r.hist.querySelector(`[data-c='${c}']`));
};
const link = (r) => r.tr.cells[1].querySelector("a");
body.addEventListener("keydown", (e) => {
	const el = e.target.closest(".c,.name a"), r = el && rowOf(el);
	if (!r || !data || e.altKey || e.ctrlKey || e.metaKey) return;
	const at = el.dataset.c === undefined ? -1 : +el.dataset.c; // -1 is the stack itself
	const results = (r) => { const f = byCommit(r.i); return columns.map((_, i) => i).filter((i) => f.has(columns[i])); };
	const to = (r, c) => { if (c === undefined) return; if (c < 0) focusOn(link(r)); else focusCell(r, c); };
	switch (e.key) {
	case "ArrowLeft": to(r, at < 0 ? undefined : [-1, ...results(r).filter((i) => i < at)].pop()); break;
	case "ArrowRight": to(r, results(r).find((i) => i > at)); break;
	case "Home": to(r, -1); break;
	case "End": to(r, results(r).pop()); break;
	case "ArrowUp": case "ArrowDown": {
		const shown = rows.filter((x) => !x.tr.hidden), step = e.key === "ArrowUp" ? -1 : 1;
		for (let n = shown.indexOf(r) + step; n >= 0 && n < shown.length; n += step) {
			if (at < 0) { to(shown[n], -1); break; }
			const all = results(shown[n]); // the nearest column; a stack without any is passed over
			if (all.length) { to(shown[n], all.reduce((a, b) => (Math.abs(b - at) < Math.abs(a - at) ? b : a))); break; }
		}
		break;
	}
	default: return;
	}
	e.preventDefault();
});
document.addEventListener("keydown", (e) => {
	if (e.key === "/" && !e.target.closest("input,select,dialog")) { e.preventDefault(); q.focus(); q.select(); }
	if (e.key === "Escape") hint(null);
});

// ---- the hint over a cell

const tip = $("tip");
const hint = (c) => {
	const r = c && rowOf(c);
	tip.hidden = !r;
	if (!r) return;
	const x = result(r.i, +c.dataset.k), commit = data.commits[x.commit];
	const head = make("p");
	head.append(make("span", "b s-" + x.status, x.status), " " + r.tr.cells[1].querySelector("a").textContent);
	const what = make("p");
	what.append(make("code", "", commit[0]), " " + commit[1]);
	tip.replaceChildren(head, what, make("p", "soft", [x.op + (x.target ? " to " + x.target : ""), "by " + x.by, absolute(x.at), x.took ? took(x.took) : "", x.tries > 1 ? x.tries + " tries" : ""].filter(Boolean).join(" · ")));
	if (x.why) tip.append(make("p", "", x.why));
	const at = c.getBoundingClientRect(), box = tip.getBoundingClientRect();
	tip.style.left = Math.max(8, Math.min(at.left, innerWidth - box.width - 8)) + "px";
	tip.style.top = (at.bottom + box.height + 10 < innerHeight ? at.bottom + 6 : at.top - box.height - 6) + "px";
};
body.addEventListener("mouseover", (e) => hint(e.target.closest(".c")));
body.addEventListener("mouseleave", () => hint(null));
body.addEventListener("focusin", (e) => hint(e.target.closest(".c")));
body.addEventListener("focusout", () => hint(null));
addEventListener("scroll", () => hint(document.activeElement.closest(".c")), { passive: true });

// ---- the panel of one stack

const panel = $("panel");
let shown = null;
const fill = (i, k) => { // the articles come after this script
	const article = $("s" + i);
	if (!article) return false;
	const copy = article.cloneNode(true);
	copy.removeAttribute("id");
	copy.querySelector("h2").id = "panel-title";
	const list = copy.querySelector("ol");
	if (list && size(i)) {
		const table = make("table"), head = make("tr");
		for (const h of ["Status", "When", "What"]) head.append(make("th", "", h));
		table.append(head);
		const most = 300, n = size(i);
		for (let j = 0; j < Math.min(n, most); j++) {
			const x = result(i, j), tr = make("tr", j === k ? "here" : ""), status = make("td"), what = make("td"), at = make("td", "", relative(x.at));
			at.title = absolute(x.at);
			status.append(make("span", "b s-" + x.status, x.status));
			what.append(x.op + " at ", make("code", "", data.commits[x.commit][0]), ` ${data.commits[x.commit][1]}, by ${x.by}` + (x.took ? ", " + took(x.took) : "") + (x.tries > 1 ? `, ${x.tries} tries` : ""));
			if (/^https?:\/\//.test(x.job)) {
				const a = make("a", "", "job");
				a.href = x.job;
				a.rel = "noreferrer";
				what.append(", ", a);
			}
			if (x.why) what.append(make("p", "", x.why));
			tr.append(status, at, what);
			table.append(tr);
		}
		const note = copy.querySelector("h3 span");
		if (note) note.textContent = n > most ? `the newest ${most} of ${n}` : "";
		list.replaceWith(table);
	}
	tellTimes(copy);
	$("panel-body").replaceChildren(copy);
	return true;
};
const open = async (i, k) => {
	if (document.readyState === "loading") await new Promise((done) => addEventListener("DOMContentLoaded", done));
	if (!fill(i, k)) return;
	shown = i;
	hint(null);
	if (!panel.open) panel.showModal();
	panel.scrollTop = 0;
	const here = panel.querySelector(".here");
	if (here && k > 8) here.scrollIntoView({ block: "center" });
};
panel.addEventListener("close", () => { shown = null; });
panel.addEventListener("click", (e) => { if (e.target === panel) panel.close(); });
$("close").addEventListener("click", () => panel.close());
body.addEventListener("click", (e) => {
	const r = rowOf(e.target), c = e.target.closest(".c"), a = e.target.closest("a");
	if (!r || !c && !a || e.ctrlKey || e.metaKey) return;
	e.preventDefault();
	open(r.i, c ? +c.dataset.k : -1);
});

// ---- begin

const bar = new ResizeObserver(() => document.documentElement.style.setProperty("--bar", (getComputedStyle($("filter")).position === "sticky" ? $("filter").offsetHeight : 0) + "px"));
bar.observe($("filter"));
const start = async (el) => {
	data = await unpack(el);
	rows.forEach((r) => { r.text += "\n" + data.ids[r.i]; });
	if (q.value) filter();
	redraw();
	for (const r of rows) watch.observe(r.tr);
	if (sort.value === "took") { sorted = ""; arrange(); }
};
await start($("data"));
if (linked) open(+linked[1], -1);
addEventListener("resize", place);
requestAnimationFrame(() => performance.mark("grid"));

// ---- live: ask for a newer page, and take over what is different in it

if (!live) return;
let etag = "";
const focusOf = () => {
	const el = document.activeElement, r = el && rowOf(el);
	return r ? { i: r.i, commit: el.dataset.c ? data.commits[columns[+el.dataset.c]][0] : "" } : null;
};
const take = async (doc) => {
	const news = [...doc.getElementById("grid").tBodies[0].rows], sources = news.map((tr) => tr.outerHTML), focus = focusOf();
	for (const id of ["asof", "problem", "figures", "details"]) $(id).replaceWith(doc.getElementById(id));
	const runs = doc.getElementById("runs");
	runs.open = $("runs").open;
	$("runs").replaceWith(runs);
	$("statuses").replaceChildren(...doc.getElementById("statuses").children);
	for (const s of [tag, target, op]) {
		const of = s && doc.getElementById(s.id);
		if (!of || of.innerHTML === s.innerHTML) continue;
		const value = s.value;
		s.replaceChildren(...of.children);
		pick(s, value);
	}
	rows.sort(orders.path);
	const old = rows.map((r) => r.tr);
	news.forEach((tr, i) => {
		if (source[i] !== sources[i] || !old[i]) tellTimes(tr); else news[i] = old[i];
	});
	for (const tr of old) if (!news.includes(tr)) { watch.unobserve(tr); inView.delete(byTR.get(tr)); }
	const seen = new Set([...inView].map((r) => r.tr));
	inView.clear();
	body.replaceChildren(...news);
	source = sources;
	readRows();
	if (narrow.matches) { $("grid").removeAttribute("role"); roles(); }
	runsOf.known = [];
	data = await unpack(doc.getElementById("data"));
	rows.forEach((r) => { r.text += "\n" + data.ids[r.i]; if (seen.has(r.tr)) inView.add(r); else watch.observe(r.tr); });
	sorted = "path";
	press();
	filter();
	tellTimes(document.querySelector("header"), true);
	tellTimes($("runs"));
	redraw();
	if (focus && rows[focus.i]) {
		draw(rows[focus.i]);
		const c = focus.commit ? columns.findIndex((i) => data.commits[i][0] === focus.commit) : -1;
		if (c >= 0 && byCommit(focus.i).has(columns[c])) focusCell(rows[focus.i], c); else focusOn(link(rows[focus.i]));
	}
	if (panel.open && shown !== null) { const at = panel.scrollTop; fill(shown, -1); panel.scrollTop = at; }
};
const look = async () => {
	const mark = (text) => { const m = document.querySelector(".live"); if (m.textContent !== text) m.textContent = text; };
	try {
		const res = await fetch(live, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
		if (res.status === 401) { location.reload(); return; }
		if (res.status !== 200 && res.status !== 304) throw new Error(await res.text());
		if (res.status === 200) {
			await take(new DOMParser().parseFromString(await res.text(), "text/html")); // which runs nothing
			etag = res.headers.get("ETag") || "";
		}
		document.querySelector("#asof time").dateTime = new Date(res.headers.get("Date")).toISOString();
		tellTimes(document.querySelector("header"), true);
		tellTimes($("grid"));
		mark("live");
	} catch (e) {
		mark("not live");
		$("problem").replaceChildren(make("p", "", "This page could not be brought up to date: " + e.message));
		etag = "";
	}
};
const soon = () => setTimeout(async () => {
	if (!document.hidden) await look();
	soon();
}, $("runs").querySelector(".s-running") ? 1500 : 5000);
soon();
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
})().catch((e) => {
	// What there is without this script is better than half of it.
	const s = document.createElement("style");
	s.textContent = document.querySelector("noscript").textContent.replace(/<\/?style>/g, "");
	document.head.append(s);
	const p = document.createElement("p");
	p.textContent = "This browser cannot show the grid: " + e.message;
	document.getElementById("problem").replaceChildren(p);
});
