// The dashboard comes to life: times in the reader's zone, and what arrives over the socket.
//
// The page is complete without this script. The socket sends a snapshot first, which replaces everything, then what
// is new; each item is known by its id and each hour carries its whole count, so that a frame twice changes nothing.

const MAX_ITEMS = 300;
const PAUSES_SECONDS = [0.5, 1, 2, 4, 8, 15];
const CLOSED_FOR_GOOD = new Set([4400, 4401, 4403]);

const locale = document.documentElement.lang;
const byId = (id) => document.getElementById(id);

// --- Times ----------------------------------------------------------------------------------------------------------

const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric" });
const full = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "long" });
const ago = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });

function moment(date) {
    const minutes = Math.round((date - Date.now()) / 60_000);
    const isToday = date.toDateString() === new Date().toDateString();
    const at = isToday ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
    if (minutes > -1) return `${at} · ${ago.format(0, "minute")}`;
    if (minutes > -60) return `${at} · ${ago.format(minutes, "minute")}`;
    if (minutes > -24 * 60) return `${at} · ${ago.format(Math.round(minutes / 60), "hour")}`;
    return at;
}

function showTimes(root) {
    for (const time of root.querySelectorAll("time[data-form]")) {
        const date = new Date(time.dateTime);
        time.textContent = time.dataset.form === "hour" ? clock.format(date) : moment(date);
        time.title = full.format(date);
    }
}

function fill(text, values) {
    return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// --- The chart ------------------------------------------------------------------------------------------------------

class Chart {
    constructor(texts) {
        this.texts = texts;
        this.svg = byId("chart");
        this.counts = new Map();
        for (const row of byId("numbers").rows) {
            this.counts.set(row.dataset.hour, Number(row.cells[1].textContent));
        }
        this.draw();
    }

    // Counts of the whole last day, oldest first.
    replace(hours) {
        this.counts = new Map(hours.map(({ hour, count }) => [hour, count]));
        this.draw();
    }

    // Counts of some hours. One that is not on the chart yet means that an hour has passed: true asks for a snapshot.
    update(hours) {
        const isBehind = hours.some(({ hour }) => !this.counts.has(hour));
        for (const { hour, count } of hours) {
            if (this.counts.has(hour)) this.counts.set(hour, count);
        }
        this.draw();
        return isBehind;
    }

    draw() {
        const counts = [...this.counts];
        const total = counts.reduce((sum, [, count]) => sum + count, 0);
        const highest = Math.max(0, ...counts.map(([, count]) => count));
        counts.forEach(([hour, count], place) => {
            const date = new Date(hour);
            const group = this.svg.children[place];
            const height = count ? Math.max((100 * count) / highest, 1.5) : 0;
            const bar = group.querySelector(".bar");
            bar.setAttribute("height", height.toFixed(2));
            bar.setAttribute("y", (100 - height).toFixed(2));
            group.querySelector("title").textContent = fill(this.texts.hour, { time: clock.format(date), count });
            const row = byId("numbers").rows[place];
            group.dataset.hour = row.dataset.hour = row.querySelector("time").dateTime = hour;
            row.cells[1].textContent = String(count);
        });
        const labels = byId("axis").children;
        [0, 6, 12, 18, counts.length - 1].forEach((place, label) => {
            labels[label].dateTime = counts[place][0];
        });
        byId("total").textContent = String(total);
        byId("peak").textContent = String(highest);
        const peak = counts.find(([, count]) => count === highest);
        byId("summary").textContent = highest
            ? fill(this.texts.summary, { total, time: clock.format(new Date(peak[0])), count: highest })
            : this.texts.nothing;
        showTimes(this.svg.closest("section"));
    }
}

// --- The list -------------------------------------------------------------------------------------------------------

class List {
    constructor(openText) {
        this.root = byId("list");
        this.openText = openText;
    }

    render(item) {
        const row = byId("item").content.firstElementChild.cloneNode(true);
        row.dataset.id = String(item.id);
        row.dataset.time = item.published_at;
        row.querySelector(".source").textContent = item.source;
        row.querySelector(".language").textContent = item.language === "zh-hans" ? "中文" : "EN";
        const time = row.querySelector("time");
        time.dateTime = item.published_at;
        time.dataset.form = "moment";
        const heading = row.querySelector("h3");
        const excerpt = row.querySelector(".excerpt");
        const link = heading.querySelector("a");
        heading.lang = excerpt.lang = item.language;
        excerpt.textContent = item.excerpt;
        if (item.url) link.href = item.url; // the server lets http and https through, nothing else
        if (item.title) {
            if (item.url) link.textContent = item.title;
            else heading.textContent = item.title;
        } else {
            heading.remove();
            if (item.url) {
                link.textContent = this.openText;
                link.lang = locale;
                excerpt.append(" ", link);
            }
        }
        showTimes(row);
        return row;
    }

    replace(items) {
        const shown = [...this.root.children].map((row) => row.dataset.id);
        // The usual case on a first connection: what the server drew stands, and so do focus and selection.
        if (items.length === shown.length && items.every((item, place) => String(item.id) === shown[place])) return;
        this.root.replaceChildren(...items.map((item) => this.render(item)));
        this.showEmpty();
    }

    // Put new items where their time belongs; return how many were not there yet.
    add(items, hasMore) {
        const known = new Set([...this.root.children].map((row) => row.dataset.id));
        let added = 0;
        for (const item of items) {
            if (known.has(String(item.id))) continue;
            const after = [...this.root.children].find((row) => isNewer(item, row));
            // Below the last one there may be items that this page does not show.
            if (!after && hasMore) continue;
            const row = this.render(item);
            row.classList.add("fresh");
            this.root.insertBefore(row, after ?? null);
            added += 1;
        }
        while (this.root.children.length > MAX_ITEMS) this.root.lastElementChild.remove();
        this.showEmpty();
        return added;
    }

    showEmpty() {
        byId("empty").hidden = this.root.children.length > 0;
    }
}

function isNewer(item, row) {
    const difference = Date.parse(item.published_at) - Date.parse(row.dataset.time);
    return difference > 0 || (difference === 0 && item.id > Number(row.dataset.id));
}

// --- The socket -----------------------------------------------------------------------------------------------------

class Live {
    constructor(state, texts, chart, list) {
        Object.assign(this, { state, texts, chart, list });
        this.hasMore = state.more;
        this.failures = 0;
        this.isPaused = false;
        byId("pause").addEventListener("click", () => (this.isPaused ? this.resume() : this.pause()));
        byId("live").parentElement.hidden = false;
        this.connect();
    }

    connect() {
        const scheme = location.protocol === "https:" ? "wss:" : "ws:";
        const socket = new WebSocket(`${scheme}//${location.host}${this.state.socket}`);
        this.socket = socket;
        socket.addEventListener("message", (event) => this.receive(JSON.parse(event.data)));
        socket.addEventListener("close", (event) => {
            if (socket !== this.socket || this.isPaused) return;
            if (CLOSED_FOR_GOOD.has(event.code)) {
                this.show("refused");
                byId("pause").hidden = true;
                return;
            }
            this.show("offline");
            const pause = PAUSES_SECONDS[Math.min(this.failures, PAUSES_SECONDS.length - 1)];
            this.failures += 1;
            // A little chance, so that a hundred dashboards do not come back in the same instant.
            this.timer = setTimeout(() => this.connect(), 1000 * pause * (0.75 + Math.random() / 2));
        });
    }

    receive(frame) {
        if (frame.type === "snapshot") {
            this.failures = 0;
            this.hasMore = frame.more;
            this.show("live");
            this.chart.replace(frame.hours);
            this.list.replace(frame.items);
        } else if (frame.type === "items") {
            const isBehind = this.chart.update(frame.hours);
            const added = this.list.add(frame.items, this.hasMore);
            if (added) byId("announce").textContent = fill(this.texts.announce, { count: added });
            if (isBehind) this.refresh();
        }
    }

    refresh() {
        if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "refresh" }));
    }

    pause() {
        this.isPaused = true;
        clearTimeout(this.timer);
        this.socket.close();
        this.show("paused");
        byId("pause").textContent = this.texts.resume;
    }

    resume() {
        this.isPaused = false;
        this.failures = 0;
        this.show("connecting");
        byId("pause").textContent = this.texts.pause;
        this.connect();
    }

    show(name) {
        byId("live").dataset.state = name;
        byId("live").textContent = this.texts[name];
    }
}

// --- Start ----------------------------------------------------------------------------------------------------------

if (byId("state")) {
    const state = JSON.parse(byId("state").textContent);
    const texts = JSON.parse(byId("texts").textContent);
    const chart = new Chart(texts);
    showTimes(document);
    setInterval(() => showTimes(byId("list")), 30_000);
    if (state.live) {
        const live = new Live(state, texts, chart, new List(texts.open));
        // When an hour has passed, the chart moves on, and it is asked again whether this reader may stay.
        const untilNextHour = () => 3_600_000 - (Date.now() % 3_600_000) + 2000;
        const everyHour = () => {
            live.refresh();
            setTimeout(everyHour, untilNextHour());
        };
        setTimeout(everyHour, untilNextHour());
    }
}
