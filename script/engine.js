/*
 * engine.js: what users' functions find around them, and how they are called.
 *
 * One context has one program: the functions of a view index, or a design document.  This text is evaluated in the
 * context first; its value is dispatch(op, text), which engine.c calls for every message and which answers with JSON
 * text or throws [name, reason].  See script.h for the operations.
 *
 * Users' code cannot make code of texts: eval() and the constructors of functions throw, and host.evaluate() is this text's alone.
 * It shares the context and may redefine whatever it likes, for itself alone.  What is used here
 * afterwards is therefore taken aside now.
 */
(function (global, host) {
	'use strict';

	const { parse, stringify } = JSON;
	const { assign, freeze, keys } = Object;
	const isArray = Array.isArray;
	const slice = Function.prototype.call.bind(String.prototype.slice);
	const replace = Function.prototype.call.bind(String.prototype.replace);
	const split = Function.prototype.call.bind(String.prototype.split);
	const indexOf = Function.prototype.call.bind(String.prototype.indexOf);
	const join = Function.prototype.call.bind(Array.prototype.join);
	const call = Function.prototype.call.bind(Function.prototype.call);
	const text = String;

	/* An error as script.h's callers get it. */
	const failure = (name, reason) => ['error', name, reason];

	/* Out of memory and out of stack are the engine's, not the document's: what they leave undone is not an empty result. */
	const isExhausted = e => e instanceof RangeError && /out of memory|call stack/i.test(text(e.message));

	/* How an exception reads in a log or a reason, whatever it is. */
	function describe(e) {
		try {
			if (e instanceof Error)
				return text(e.name) + ': ' + text(e.message);
			return typeof e === 'string' ? e : text(stringify(e));
		} catch (again) {
			return 'an error that cannot be shown';
		}
	}

	/* Half a character, as slicing a string leaves it, has no UTF-8: it becomes U+FFFD.  In JSON escapes are taken one by one, for a backslash may be escaped. */
	const escapes = /\\(?:ud[89a-f][0-9a-f]{2}|[^])/g;
	const halves = /[\ud800-\udfff]/gu;

	function mend(json) {
		return indexOf(json, '\\ud') < 0 ? json : replace(json, escapes, m => (m.length === 6 ? '\\ufffd' : m));
	}

	const mendText = s => replace(s, halves, '\ufffd');
	const log = s => host.log(mendText(s));

	/* ---- Compiling ---- */

	/* A function is an expression: CouchDB's users also end it with a semicolon, or with a comment. */
	function evaluate(source) {
		/* By hand: a regular expression looks at a long run of white space once for each of its characters. */
		let end = source.length;
		while (end > 0 && indexOf(' \t\r\n\f\v\u00a0\ufeff\u2028\u2029;', source[end - 1]) >= 0)
			end--;
		try {
			return host.evaluate('(' + slice(source, 0, end) + '\n)');
		} catch (e) {
			if (!(e instanceof SyntaxError))
				throw e;
			try {
				/* Statements whose last one is the function; in a block, since two functions may declare the same names. */
				return host.evaluate('{' + source + '\n}');
			} catch (again) {
				throw e;
			}
		}
	}

	function compile(source) {
		let fun;
		if (typeof source !== 'string')
			throw failure('compilation_error', 'a function must be a text');
		try {
			fun = evaluate(source);
		} catch (e) {
			throw failure('compilation_error', describe(e) + ' (' + source + ')');
		}
		if (typeof fun !== 'function')
			throw failure('compilation_error', 'Expression does not eval to a function. (' + source + ')');
		return fun;
	}

	/* ---- CommonJS modules in the design document ---- */

	/* From ${mod} along ${names}: {current, parent, id}; a module is a text somewhere in the document. */
	function resolve(names, mod) {
		for (const name of names) {
			if (name === '.')
				continue;
			if (name === '..') {
				if (!mod.parent)
					throw failure('invalid_require_path', 'Object has no parent ' + stringify(mod.current));
				mod = mod.parent;
				continue;
			}
			const next = Object(mod.current) === mod.current ? mod.current[name] : undefined;
			if (next === undefined || next === null)
				throw failure('invalid_require_path', 'Object has no property "' + name + '". ' + stringify(mod.current));
			mod = { current: next, parent: mod, id: mod.id ? mod.id + '/' + name : name };
		}
		if (typeof mod.current !== 'string')
			throw failure('invalid_require_path', 'Must require a JavaScript string, not: ' + typeof mod.current);
		return mod;
	}

	function makeRequire(ddoc) {
		const loaded = new Map();
		const root = { current: ddoc, parent: undefined, id: '' };
		/* ${place}: what the module that requires is a member of. */
		const requireFrom = place => name => {
			const relative = name[0] === '.';
			if (relative && !place)
				throw failure('invalid_require_path', 'Object has no parent ' + stringify(ddoc));
			const found = resolve(split(text(name), '/'), relative ? place : root);
			if (loaded.has(found.id))
				return loaded.get(found.id).exports;
			const module = { id: found.id, current: found.current, parent: found.parent, exports: {} };
			loaded.set(found.id, module);
			try {
				const fun = host.evaluate('(function (module, exports, require) { ' + found.current + '\n })');
				call(fun, global, module, module.exports, requireFrom(found.parent));
			} catch (e) {
				loaded.delete(found.id);
				throw failure('compilation_error', "Module require('" + name + "') raised error " + describe(e));
			}
			return module.exports;
		};
		return requireFrom(undefined);
	}

	/* ---- What functions may call ---- */

	let rows = []; /* what the running map emitted */
	let emitted = false;

	const globals = {
		log: message => log(typeof message === 'string' ? message : text(stringify(message))),
		toJSON: stringify,
		isArray,
		sum: values => {
			let total = 0;
			for (const i in values)
				total += values[i];
			return total;
		},
	};

	/* Who sleeps is not seen by the watch on computing; nobody shares memory with anybody. */
	delete global.Atomics;
	delete global.SharedArrayBuffer;
	delete global.WebAssembly;

	const publish = what => {
		for (const name of keys(what))
			Object.defineProperty(global, name, { value: what[name], writable: true, configurable: true, enumerable: false });
	};

	/* The same document gives the same rows wherever and whenever it is indexed, as far as that is in our hands. */
	function fixRandom() {
		let state;
		Math.random = () => {
			state = (state + 0x6d2b79f5) | 0;
			let t = Math.imul(state ^ (state >>> 15), state | 1);
			t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
			return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
		};
		return () => {
			state = 1;
		};
	}

	/* ---- Views ---- */

	let maps = [], reduces = [];
	let restartRandom;

	/*
	 * A document is frozen before it is mapped, so that no function sees what another did to it.  That takes as long as
	 * the rest of a light map, so it is not done where no function could do anything: assign to a member, call what
	 * changes its object, or reach for either in a way that is not seen here.
	 */
	const mayChange = new RegExp([
		/(?:[.?]\s*[\w$]+|[\])}])\s*(?:[-+*/%&|^?]{1,2}|<<|>>>?)?=(?![=>])/, /* a.b = ..., a[b] += ..., {c: a.b} = ... */
		/(?:\.\s*[\w$]+|\])\s*(?:\+\+|--)/,
		/(?:\+\+|--)\s*[\w$(]+\s*[.?[(]/,
		/for\s*\(\s*[\w$]+\s*[.?[]/,
		/\.\s*(?:push|pop|shift|unshift|splice|sort|reverse|fill|copyWithin|set\w*|assign|define\w*|call|apply|bind|\/)/,
		/[\])]\s*(?:\?\.)?\s*[(`]/, /* calls of what was computed */
		/\b(?:delete|eval|Function|Reflect|Proxy|require|with|arguments|__proto__|constructor|import)\b|\\[ux0-9]/, /* names spelled by escapes, too */
	].map(r => r.source).join('|'));
	let mustFreeze = false;

	function freezeAll(o) {
		freeze(o);
		for (const k in o) {
			const v = o[k];
			if (typeof v === 'object' && v !== null)
				freezeAll(v);
		}
	}

	/* What a function throws costs the document its rows, and nothing else: see docs/API.md. */
	function caught(e, doc) {
		if (e === 'fatal_error')
			throw failure('map_runtime_error', "function raised 'fatal_error'");
		if (isExhausted(e) || (isArray(e) && e[0] === 'fatal'))
			throw isArray(e) ? failure(text(e[1]), text(e[2])) : failure('map_runtime_error', describe(e));
		log('function raised exception ' + describe(e) + (doc ? ' with doc._id ' + text(doc._id) : ''));
	}

	function mapOne(fun, doc) {
		rows = [];
		restartRandom();
		try {
			fun(doc);
		} catch (e) {
			if (isExhausted(e))
				throw e;
			caught(e, doc);
			rows = [];
		}
		return rows;
	}

	/* Rows that have no JSON form (cycles, a toJSON that throws) are found one function at a time. */
	function jsonOf(list, doc) {
		try {
			return stringify(list);
		} catch (e) {
			caught(e, doc);
			return '[]';
		}
	}

	function map(input) {
		const docs = parse(input), all = [];
		const n = maps.length;
		for (let i = 0; i < docs.length; i++) {
			const doc = docs[i], own = [];
			if (mustFreeze)
				freezeAll(doc);
			for (let k = 0; k < n; k++)
				own[k] = mapOne(maps[k], doc);
			all[i] = own;
		}
		try {
			return stringify(all);
		} catch (e) {
			if (isExhausted(e))
				throw e;
			const texts = [];
			for (let i = 0; i < all.length; i++) {
				const own = [];
				for (let k = 0; k < n; k++)
					own[k] = jsonOf(all[i][k], docs[i]);
				texts[i] = '[' + join(own, ',') + ']';
			}
			return '[' + join(texts, ',') + ']';
		}
	}

	/* [[function, keys or null, values], ...] */
	function reduce(input, again) {
		const jobs = parse(input), out = [];
		for (let i = 0; i < jobs.length; i++) {
			const [k, ks, values] = jobs[i];
			let value = null;
			restartRandom();
			try {
				value = reduces[k](again ? null : ks, values, again);
			} catch (e) {
				caught(e);
			}
			const json = jsonOf([value]);
			out[i] = json === '[]' ? 'null' : slice(json, 1, -1);
		}
		return '[' + join(out, ',') + ']';
	}

	/* ---- Functions of a design document ---- */

	let ddoc = null;
	const compiled = new Map();

	/* Of ["filters", "name"] and the like. */
	function functionAt(path) {
		const id = join(path, '.');
		let fun = compiled.get(id);
		if (fun)
			return fun;
		let point = ddoc;
		for (const name of path)
			point = Object(point) === point && Object.prototype.hasOwnProperty.call(point, name) ? point[name] : undefined;
		if (point === undefined || point === null)
			throw failure('not_found', 'missing ' + path[0] + ' function ' + path[path.length - 1] + ' on design doc ' + ddoc._id);
		if (path[0] === 'views')
			point = point.map;
		fun = compile(point);
		compiled.set(id, fun);
		return fun;
	}

	const truths = (docs, of) => {
		const out = [];
		for (let i = 0; i < docs.length; i++)
			out[i] = !!of(docs[i]);
		return out;
	};

	/* The verdict on one document: null, what the function threw, or how it failed. */
	function verdict(fun, args) {
		try {
			call(fun, ddoc, args[0], args[1], args[2], args[3]);
			return null;
		} catch (e) {
			return e instanceof Error ? { failed: describe(e) } : { threw: e === undefined ? null : e };
		}
	}

	const isResponse = r => typeof r === 'string' || (typeof r === 'object' && r !== null && !isArray(r));
	const wrap = r => (typeof r === 'string' ? { body: r } : r);

	function renderError(e) {
		if (isArray(e) || (e && e.error && e.reason))
			throw e;
		if (isExhausted(e))
			throw e;
		const message = 'function raised error: ' + describe(e) + ' \nstacktrace: ' + text(e && e.stack);
		log(message);
		throw failure('render_error', message);
	}

	/* ---- Shows and lists: headers, chunks, content types ---- */

	const mimesOf = {}, keyOf = {};
	let provided, usesProvides, contentType;
	let chunks, response, ended, buffered, at;
	let sent, begun, told; /* some text; so that getRow() has begun the response, and flush() has told it */
	let listing = false; /* a list function runs */

	function registerType(key, ...mimes) {
		mimesOf[key] = mimes;
		for (const m of mimes)
			keyOf[m] = key;
	}
	registerType('all', '*/*');
	registerType('text', 'text/plain; charset=utf-8', 'txt');
	registerType('html', 'text/html; charset=utf-8');
	registerType('xhtml', 'application/xhtml+xml', 'xhtml');
	registerType('xml', 'application/xml', 'text/xml', 'application/x-xml');
	registerType('js', 'text/javascript', 'application/javascript', 'application/x-javascript');
	registerType('css', 'text/css');
	registerType('ics', 'text/calendar');
	registerType('csv', 'text/csv');
	registerType('rss', 'application/rss+xml');
	registerType('atom', 'application/atom+xml');
	registerType('yaml', 'application/x-yaml', 'text/yaml');
	registerType('multipart_form', 'multipart/form-data');
	registerType('url_encoded_form', 'application/x-www-form-urlencoded');
	registerType('json', 'application/json', 'text/x-json');

	function resetRender() {
		provided = [];
		usesProvides = false;
		contentType = undefined;
		chunks = [];
		response = {};
		sent = begun = told = ended = false;
		buffered = [];
		at = 0;
	}

	/* One range of an Accept header, or one type: {type, subtype, q}. */
	function mediaRange(s) {
		const [full, ...params] = split(s, ';').map(p => p.trim());
		const [type, subtype = '*'] = split(full === '*' ? '*/*' : full, '/').map(p => p.trim());
		let q = 1;
		for (const p of params) {
			const m = /^q\s*=\s*([0-9.]+)$/.exec(p);
			if (m)
				q = Number(m[1]);
		}
		return { type, subtype, q: q >= 0 && q <= 1 ? q : 1 };
	}

	/* The supported type that an Accept header likes best; of equals the last. */
	function bestMatch(supported, accept) {
		const ranges = split(accept, ',').map(mediaRange);
		let best, bestFit = 0, bestQ = 0;
		for (const mime of supported) {
			const t = mediaRange(mime);
			let fit = 0, q = 0;
			for (const r of ranges) {
				const same = (a, b) => a === b || a === '*' || b === '*';
				if (!same(r.type, t.type) || !same(r.subtype, t.subtype))
					continue;
				const f = (r.type === t.type ? 100 : 0) + (r.subtype === t.subtype ? 10 : 0) + 1;
				if (f > fit)
					[fit, q] = [f, r.q];
			}
			if (q > 0 && (fit > bestFit || (fit === bestFit && q >= bestQ)))
				[best, bestFit, bestQ] = [mime, fit, q];
		}
		return best;
	}

	function runProvides(req) {
		const accept = req.headers && (req.headers.Accept || req.headers.accept);
		let key;
		if (req.query && req.query.format) {
			key = req.query.format;
			contentType = mimesOf[key] && mimesOf[key][0];
		} else if (accept) {
			let supported = [];
			for (let i = provided.length - 1; i >= 0; i--)
				supported = supported.concat(mimesOf[provided[i][0]] || []);
			contentType = bestMatch(supported, accept);
			key = keyOf[contentType];
		} else {
			key = provided[0][0];
			contentType = mimesOf[key] && mimesOf[key][0];
		}
		for (const [name, fun] of provided)
			if (name === key)
				return call(fun, ddoc);
		const types = provided.map(([name]) => (mimesOf[name] ? mimesOf[name].join(', ') : name));
		throw failure('not_acceptable', 'Content-Type ' + (accept || key) + ' not supported, try one of: ' + types.join(', '));
	}

	function withType(resp) {
		resp.headers = resp.headers || {};
		if (contentType && !resp.headers['Content-Type'])
			resp.headers['Content-Type'] = contentType;
		return resp;
	}

	function send(chunk) {
		const s = text(chunk);
		sent = sent || s !== '';
		chunks.push(s);
	}

	const listGlobals = {
		provides: (type, fun) => {
			usesProvides = true;
			provided.push([type, fun]);
		},
		registerType,
		start: resp => {
			if (!begun)
				response = resp || {};
		},
		send,
		getRow: () => {
			if (!listing)
				throw failure('render_error', 'getRow() is for list functions');
			begun = sent;
			if (ended)
				return null;
			if (at === buffered.length) {
				const more = host.rows(mend(flush()));
				buffered = more ? parse(more) : [];
				at = 0;
			}
			if (at < buffered.length)
				return buffered[at++];
			ended = true;
			return null;
		},
	};

	/* What was sent so far; with the head until that comes with text. */
	function flush() {
		const out = told ? [chunks] : [chunks, withType(response)];
		told = sent;
		chunks = [];
		return stringify(out);
	}

	function show(fun, doc, req) {
		resetRender();
		try {
			let resp = wrap(call(fun, ddoc, doc, req) || {});
			if (chunks.length > 0) {
				/* As in CouchDB, whose shows give start() the headers themselves; lists give it an object that has them. */
				resp.headers = assign(resp.headers || {}, response, response.headers);
				resp.body = join(chunks, '') + (resp.body || '');
				chunks = [];
			}
			if (usesProvides) {
				const own = wrap(runProvides(req) || {});
				resp.body = (resp.body || '') + join(chunks, '') + (own.body || '');
				resp = withType(resp);
			}
			if (!isResponse(resp))
				throw failure('render_error', 'undefined response from show function');
			return stringify(resp);
		} catch (e) {
			if (doc === null && req && req.path && req.path.length > 5)
				throw failure('not_found', 'document not found');
			return renderError(e);
		}
	}

	function update(fun, doc, req) {
		if (req.method === 'GET')
			throw failure('method_not_allowed', 'Update functions do not allow GET');
		try {
			const result = call(fun, ddoc, doc, req);
			const resp = result[1];
			if (!isResponse(resp))
				throw failure('render_error', 'undefined response from update function');
			return stringify([result[0] === undefined ? null : result[0], wrap(resp)]);
		} catch (e) {
			return renderError(e);
		}
	}

	function list(fun, head, req) {
		resetRender();
		listing = true;
		try {
			let tail = call(fun, ddoc, head, req);
			if (usesProvides)
				tail = runProvides(req);
			if (tail !== undefined && tail !== null)
				send(tail);
			return flush();
		} catch (e) {
			return renderError(e);
		} finally {
			listing = false;
		}
	}

	/* {path, ...} or null: there is none. */
	function rewrite(fun, req) {
		try {
			const to = call(fun, ddoc, req);
			return typeof to === 'string' ? { path: to } : to || null;
		} catch (e) {
			for (const name of ['forbidden', 'unauthorized'])
				if (e && e[name])
					throw failure(name, e[name]);
			return renderError(e);
		}
	}

	/* [path, argument, ...] */
	function design(input) {
		const [path, a, b] = parse(input);
		const fun = functionAt(path);
		switch (path[0]) {
		case 'filters':
			return stringify(truths(a, doc => call(fun, ddoc, doc, b)));
		case 'views':
			return stringify(truths(a, doc => {
				emitted = false;
				fun(doc);
				return emitted;
			}));
		case 'validate_doc_update':
			return stringify(a.map(args => verdict(fun, args)));
		case 'shows':
			return show(fun, a, b);
		case 'updates':
			return update(fun, a, b);
		case 'lists':
			return list(fun, a, b);
		case 'rewrites':
			return stringify(rewrite(fun, a));
		default:
			throw failure('unknown_command', "unknown ddoc command '" + path[0] + "'");
		}
	}

	/* ---- Messages ---- */

	function load(input) {
		const program = parse(input);
		publish(globals);
		if (program.ddoc) {
			ddoc = program.ddoc;
			publish(listGlobals);
			publish({ require: makeRequire(ddoc), emit: () => {
				emitted = true;
			} });
			restartRandom = () => {};
			return 'true';
		}
		publish({ require: makeRequire({ views: { lib: program.lib } }), emit: (key, value) => {
			rows[rows.length] = [key, value];
		} });
		restartRandom = fixRandom();
		maps = (program.map || []).map(compile);
		mustFreeze = (program.map || []).some(source => mayChange.test(source));
		reduces = (program.reduce || []).map(compile);
		return 'true';
	}

	const operations = { P: load, m: map, r: input => reduce(input, false), R: input => reduce(input, true), d: design };

	return (op, input) => {
		try {
			return mend(operations[op](input));
		} catch (e) {
			if (isArray(e))
				throw [mendText(text(e[1])), mendText(typeof e[2] === 'string' ? e[2] : text(stringify(e[2])))];
			if (e && e.error && e.reason)
				throw [mendText(text(e.error)), mendText(text(e.reason))];
			/* In CouchDB's engine's words. */
			if (isExhausted(e))
				throw ['InternalError', indexOf(text(e.message), 'call stack') >= 0 ? 'too much recursion' : 'out of memory'];
			throw [e instanceof Error ? mendText(text(e.name)) : 'unnamed_error', mendText(describe(e))];
		}
	};
})
