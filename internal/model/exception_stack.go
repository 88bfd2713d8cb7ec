package model

import (
	"slices"
	"strings"
)

// maxStack is how much of a stack is read, in bytes.
const maxStack = 64 << 10

// frame is one call of a stack, reduced to what stays the same from build to build.
type frame struct {
	name    string
	library bool // a runtime's or library's, not the application's
}

// section is one exception of a chain.
type section struct {
	header string // "type: message", if it was found
	frames []frame
}

// stack is a text of frames, cut into the exceptions of a chain in the order they are written.
type stack struct {
	sections []*section
	cause    int // of sections, the root cause
	// last tells that the exception that was reported is written last, not first.
	last bool
}

func (s *stack) primary() *section {
	switch {
	case len(s.sections) == 0:
		return nil
	case s.last:
		return s.sections[len(s.sections)-1]
	}
	return s.sections[0]
}

// root is the exception that began the chain. One without frames says too little: then it is the nearest that has some.
func (s *stack) root() *section {
	if len(s.sections) == 0 {
		return nil
	}
	for _, c := range slices.Backward(s.sections[:s.cause+1]) {
		if len(c.frames) > 0 {
			return c
		}
	}
	for _, c := range s.sections[s.cause:] {
		if len(c.frames) > 0 {
			return c
		}
	}
	return s.sections[s.cause]
}

// What stands between the exceptions of a chain.
const (
	pythonCause   = "The above exception was the direct cause of the following exception:"
	pythonContext = "During handling of the above exception, another exception occurred:"
	dotnetEnd     = "--- End of inner exception stack trace ---"
)

// readStack reads a stack of Go, Java, Python, JavaScript, .NET, Ruby or PHP, line by line. Lines that it doesn't know
// are passed over.
func readStack(text string) *stack {
	s := &stack{}
	text = text[:min(len(text), maxStack)]
	if strings.TrimSpace(text) == "" {
		return s
	}
	cur := &section{}
	s.sections = append(s.sections, cur)
	python, before := false, ""
	suppressed := -1 // indent of a "Suppressed:" whose lines are passed over
	next := func() {
		if python {
			slices.Reverse(cur.frames)
			python = false
		}
		cur = &section{}
		s.sections = append(s.sections, cur)
	}
	skip, done := false, false
	add := func(f frame) {
		if f.name != "" {
			cur.frames = append(cur.frames, f)
		}
	}
lines:
	for raw := range strings.Lines(text) {
		line := strings.TrimSpace(raw)
		previous := before
		before = line
		indent := len(raw) - len(strings.TrimLeft(raw, " \t"))
		if line == "" {
			continue
		}
		if suppressed >= 0 {
			if indent >= suppressed {
				continue
			}
			suppressed = -1
		}
		if skip { // a line of Python's source
			skip = false
			if !strings.HasPrefix(line, `File "`) && indent > 0 {
				continue
			}
		}
		switch {
		case line == pythonCause:
			next()
			s.last = true
			continue
		case line == pythonContext:
			next()
			s.last, s.cause = true, len(s.sections)-1
			continue
		case line == dotnetEnd:
			done = true // the rest is of those that wrap it
			continue
		case strings.HasPrefix(line, "Caused by: "), strings.HasPrefix(line, "---> "):
			next()
			_, cur.header, _ = strings.Cut(line, " ")
			if rest, ok := strings.CutPrefix(cur.header, "by: "); ok {
				cur.header = rest
			}
			s.cause = len(s.sections) - 1
			continue
		case strings.HasPrefix(line, "Suppressed: "):
			suppressed = indent
			continue
		case strings.HasPrefix(line, "Next ") && len(cur.frames) > 0:
			next()
			s.last, cur.header = true, line[len("Next "):]
			continue
		case strings.HasPrefix(line, "goroutine ") && strings.HasSuffix(line, ":"):
			if len(cur.frames) > 0 {
				break lines // of a dump the first goroutine is the one that failed
			}
			continue
		case strings.HasPrefix(line, "Traceback ("), line == "Stack trace:", strings.HasPrefix(line, "created by "):
			continue
		}
		if done {
			continue
		}
		if f, ok := goFrame(previous, raw); ok {
			if add(f); !f.library && len(significant(cur.frames)) == maxFrames {
				break lines // Go has no chains: the rest decides nothing
			}
			continue
		}
		if f, ok := pythonFrame(line); ok {
			python, skip = true, true
			add(f)
			continue
		}
		f, header, ok := otherFrame(line)
		switch {
		case ok:
			add(f)
			if cur.header == "" {
				cur.header = header
			}
		case python && indent == 0 && cur.header == "", len(cur.frames) == 0 && cur.header == "" && !looksLikeGo(line):
			cur.header = line
			// .NET Framework writes the causes of an exception on its line.
			if i := strings.LastIndex(line, " ---> "); i >= 0 {
				next()
				cur.header = line[i+len(" ---> "):]
				s.cause = len(s.sections) - 1
			}
		}
	}
	if python {
		slices.Reverse(cur.frames)
	}
	return s
}

// splitHeader parts "type: message"; the type is empty where the text does not begin with one.
func splitHeader(h string) (typ, message string) {
	h = strings.TrimSpace(h)
	for _, p := range []string{"Uncaught ", "PHP Fatal error:  ", "Unhandled exception. ", "Exception in thread "} {
		if rest, ok := strings.CutPrefix(h, p); ok {
			h = strings.TrimSpace(rest)
		}
	}
	if strings.HasPrefix(h, `"`) { // the thread's name
		if end := strings.IndexByte(h[1:], '"'); end >= 0 {
			h = strings.TrimSpace(h[end+2:])
		}
	}
	typ, message, found := strings.Cut(h, ": ")
	if !found {
		typ = strings.TrimSuffix(h, ":")
	}
	bad := func(r rune) bool { return r <= ' ' || strings.ContainsRune(`"'()/=,;`, r) }
	if typ == "" || strings.ContainsFunc(typ, bad) {
		return "", h
	}
	return typ, strings.TrimSpace(message)
}

// looksLikeGo tells whether a line may be the first half of one of Go's frames, which has two lines.
func looksLikeGo(line string) bool {
	return strings.HasSuffix(line, ")") && strings.ContainsRune(line, '.') && !strings.ContainsRune(line, ' ') ||
		strings.HasPrefix(line, "panic(")
}

// goFrame reads a frame of Go's: a function, and below it, indented, its file.
func goFrame(function, file string) (frame, bool) {
	if function == "" || file[0] != '\t' && file[0] != ' ' {
		return frame{}, false
	}
	file = strings.TrimSpace(file)
	i := strings.Index(file, ".go:")
	if i < 0 || i+4 >= len(file) || file[i+4] < '0' || file[i+4] > '9' || strings.HasPrefix(file, "at ") {
		return frame{}, false
	}
	if strings.HasPrefix(function, "created by ") {
		return frame{}, false
	}
	name := function
	if strings.HasSuffix(name, ")") { // the arguments
		depth := 0
		for j := len(name) - 1; j >= 0; j-- {
			switch name[j] {
			case ')':
				depth++
			case '(':
				depth--
			}
			if depth == 0 {
				name = name[:j]
				break
			}
		}
	}
	if j := strings.IndexByte(name, '['); j >= 0 { // type parameters
		if k := strings.IndexByte(name[j:], ']'); k >= 0 {
			name = name[:j] + name[j+k+1:]
		}
	}
	for { // closures and what the compiler wraps: main.run.func1.2, main.run.gowrap1
		j := strings.LastIndexByte(name, '.')
		if j <= 0 || !closure(name[j+1:]) {
			break
		}
		name = name[:j]
	}
	if name == "" {
		return frame{}, false
	}
	return frame{name, goLibrary(name, file[:i])}, true
}

// closure tells whether the last part of a function's name is a counter of Go's compiler.
func closure(part string) bool {
	for _, p := range []string{"func", "gowrap", "deferwrap", "-range"} {
		part = strings.TrimPrefix(part, p)
	}
	return part != "" && strings.Trim(part, "0123456789") == ""
}

// goStandard are the first elements of the import paths of Go's own packages.
var goStandard = set("archive bufio bytes cmp compress container context crypto database debug embed encoding errors expvar flag fmt go hash html " +
	"image index internal io iter log maps math mime net os panic path plugin reflect regexp runtime slices sort strconv strings sync " +
	"syscall testing text time unicode unique unsafe vendor weak")

func goLibrary(name, file string) bool {
	first := name[:strings.IndexAny(name+"/", "/.")]
	return goStandard[first] || strings.HasPrefix(name, "go.opentelemetry.io/") || strings.HasPrefix(name, "google.golang.org/") ||
		strings.Contains(file, "/pkg/mod/") || strings.Contains(file, "/vendor/") || strings.Contains(file, "@v")
}

// pythonFrame reads: File "/app/cart.py", line 12, in checkout
func pythonFrame(line string) (frame, bool) {
	rest, ok := strings.CutPrefix(line, `File "`)
	if !ok {
		return frame{}, false
	}
	file, rest, ok := strings.Cut(rest, `", line `)
	if !ok {
		return frame{}, false
	}
	_, function, _ := strings.Cut(rest, ", in ")
	library := containsAny(file, "/site-packages/", "/dist-packages/", "/lib/python", `\lib\`, `\Lib\`) || strings.HasPrefix(file, "<frozen ")
	return located(function, file, library), true
}

// otherFrame reads a frame that stands on one line. Of Ruby's first line it gives the header too.
func otherFrame(line string) (f frame, header string, ok bool) {
	switch {
	case strings.HasPrefix(line, "at "):
		f, ok = atFrame(strings.TrimSpace(line[3:]))
		return f, "", ok
	case line[0] == '#':
		f, ok = phpFrame(line)
		return f, "", ok
	}
	if f, header, ok = rubyFrame(line); ok {
		return f, header, true
	}
	// Firefox and Safari: checkout@https://shop.example/assets/cart.js:12:34
	if name, file, found := strings.Cut(line, "@"); found && !strings.ContainsRune(line, ' ') {
		if path, cut := cutPosition(file); cut {
			return jsFrame(name, path), "", true
		}
	}
	return frame{}, "", false
}

// atFrame reads what follows "at " in the stacks of Java, .NET and JavaScript.
func atFrame(s string) (frame, bool) {
	open := strings.IndexByte(s, '(')
	if open < 0 { // JavaScript: at /app/cart.js:12:34
		path, ok := cutPosition(strings.TrimPrefix(s, "async "))
		if ok {
			return jsFrame("", path), true
		}
		if strings.ContainsRune(s, ' ') || !strings.ContainsRune(s, '.') {
			return frame{}, false
		}
		return frame{s, false}, true
	}
	if open > 0 && s[open-1] == ' ' && strings.HasSuffix(s, ")") {
		path, _ := cutPosition(s[open+1 : len(s)-1])
		return jsFrame(s[:open-1], path), true
	}
	name, rest := s[:open], s[open+1:]
	inside, after, _ := strings.Cut(rest, ")")
	if name == "" {
		return frame{}, false
	}
	if inside == "Native Method" || inside == "Unknown Source" || inside == "<generated>" ||
		after == "" && strings.ContainsRune(inside, '.') && !strings.ContainsRune(inside, ' ') {
		return javaFrame(name), true
	}
	return dotnetFrame(name), true
}

// cutPosition takes :line:column or :line off a location.
func cutPosition(s string) (string, bool) {
	cut := false
	for range 2 {
		i := strings.LastIndexByte(s, ':')
		if i < 0 || i == len(s)-1 || strings.Trim(s[i+1:], "0123456789") != "" {
			break
		}
		s, cut = s[:i], true
	}
	return s, cut
}

// javaLibraries begin the names of classes that are no application's.
var javaLibraries = []string{"java.", "javax.", "jakarta.", "jdk.", "sun.", "com.sun.", "kotlin.", "kotlinx.", "scala.", "groovy.", "clojure.",
	"org.springframework.", "org.apache.", "org.hibernate.", "org.eclipse.jetty.", "org.jboss.", "org.postgresql.", "org.junit.",
	"io.netty.", "io.grpc.", "io.undertow.", "io.vertx.", "io.micrometer.", "io.opentelemetry.", "io.quarkus.", "reactor.",
	"com.zaxxer.hikari.", "com.mysql.", "com.fasterxml.", "com.google.common.", "okhttp3.", "ch.qos.logback.", "net.bytebuddy."}

func javaFrame(name string) frame {
	if i := strings.Index(name, "/0x"); i >= 0 { // a hidden class's address
		end := strings.IndexByte(name[i:], '.')
		if end < 0 {
			end = len(name) - i
		}
		name = name[:i] + name[i+end:]
	}
	name = name[strings.LastIndexByte(name, '/')+1:] // loader and module
	generated := strings.Contains(name, "$$Lambda")
	if i := strings.Index(name, "$$"); i >= 0 { // proxies: Cart$$EnhancerBySpringCGLIB$$1a2b3c.total
		end := strings.LastIndexByte(name, '.')
		if end < i {
			end = len(name)
		}
		name = name[:i] + name[end:]
	}
	name = stripCounters(name)
	for _, w := range []string{"GeneratedMethodAccessor", "GeneratedConstructorAccessor", "$Proxy"} {
		if i := strings.Index(name, w); i >= 0 {
			generated = true
			name = name[:i+len(w)] + strings.TrimLeft(name[i+len(w):], "0123456789")
		}
	}
	library := generated
	for _, p := range javaLibraries {
		library = library || strings.HasPrefix(name, p)
	}
	return frame{name, library}
}

// stripCounters takes the numbers off anonymous classes and lambdas: Cart$1.run, lambda$total$0.
func stripCounters(name string) string {
	if !strings.ContainsRune(name, '$') {
		return name
	}
	var out strings.Builder
	for i := 0; i < len(name); i++ {
		out.WriteByte(name[i])
		if name[i] == '$' {
			end := i + 1
			for end < len(name) && name[end] >= '0' && name[end] <= '9' {
				end++
			}
			if end == len(name) || name[end] == '.' || name[end] == '$' {
				i = end - 1
			}
		}
	}
	return out.String()
}

// dotnetFrame reads the names that C#'s compiler makes: <Total>d__3.MoveNext is Total, <>c.<Total>b__0 a lambda of it.
func dotnetFrame(name string) frame {
	if i := strings.IndexByte(name, '['); i >= 0 {
		name = name[:i]
	}
	var parts []string
	machine := false
	for part := range strings.SplitSeq(name, ".") {
		if i := strings.IndexByte(part, '`'); i >= 0 {
			part = part[:i]
		}
		switch {
		case strings.HasPrefix(part, "<>"), part == "":
			continue
		case machine && part == "MoveNext":
			continue
		case part[0] == '<':
			inner, rest, _ := strings.Cut(strings.TrimLeft(part, "<"), ">")
			parts = append(parts, inner)
			if _, local, ok := strings.Cut(rest, "g__"); ok {
				local, _, _ = strings.Cut(local, "|")
				parts = append(parts, local)
			} else if strings.Contains(rest, "b__") {
				parts = append(parts, "lambda")
			}
			machine = strings.Contains(rest, "d__")
			continue
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return frame{name, true}
	}
	first := parts[0]
	return frame{strings.Join(parts, "."), first == "System" || first == "Microsoft" || first == "OpenTelemetry"}
}

func jsFrame(function, path string) frame {
	function, _, _ = strings.Cut(function, " [as ")
	function = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(function), "async "), "Object.")
	library := containsAny(path, "node:", "/node_modules/", "native") || strings.HasPrefix(path, "internal/") || path == "<anonymous>"
	if i := strings.Index(path, "://"); i >= 0 {
		path = path[i+3:]
		if j := strings.IndexByte(path, '/'); j >= 0 {
			path = path[j:]
		}
	}
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	if strings.HasPrefix(path, "eval at ") {
		path = "eval"
	}
	return located(function, path, library)
}

// rubyFrame reads: /app/cart.rb:12:in 'Cart#total', which the first line of a trace follows with ": message (Type)".
func rubyFrame(line string) (f frame, header string, ok bool) {
	line = strings.TrimPrefix(line, "from ")
	i := strings.Index(line, ":in `")
	if i < 0 {
		if i = strings.Index(line, ":in '"); i < 0 {
			return frame{}, "", false
		}
	}
	file, numbered := cutPosition(line[:i])
	method, rest, closed := strings.Cut(line[i+len(":in `"):], "'")
	if !numbered || !closed {
		return frame{}, "", false
	}
	if before, after, found := strings.Cut(method, " levels) in "); found && strings.HasPrefix(before, "block (") {
		method = "block in " + after
	}
	if message, ok := strings.CutPrefix(rest, ": "); ok && strings.HasSuffix(message, ")") {
		if j := strings.LastIndex(message, " ("); j >= 0 {
			header = message[j+2:len(message)-1] + ": " + message[:j]
		}
	}
	library := containsAny(file, "/gems/", "/lib/ruby/") || strings.HasPrefix(file, "<internal:")
	return located(method, file, library), header, true
}

// phpFrame reads: #0 /app/Cart.php(12): Cart->total('x')
func phpFrame(line string) (frame, bool) {
	number, rest, ok := strings.Cut(line[1:], " ")
	if !ok || number == "" || strings.Trim(number, "0123456789") != "" {
		return frame{}, false
	}
	place, call, ok := strings.Cut(rest, ": ")
	if !ok {
		return frame{}, false
	}
	file := place
	if i := strings.LastIndexByte(place, '('); i > 0 && strings.HasSuffix(place, ")") {
		file = place[:i]
	}
	if i := strings.Index(call, "{closure"); i >= 0 {
		call = call[:i] + "{closure}"
	} else if i := strings.IndexByte(call, '('); i >= 0 {
		call = call[:i]
	}
	if i := strings.Index(call, "class@anonymous"); i >= 0 {
		method := ""
		if j := strings.Index(call, "->"); j >= 0 {
			method = call[j:]
		}
		call = call[:i] + "class@anonymous" + method
	}
	return located(call, file, strings.Contains(file, "/vendor/") || file == "[internal function]"), true
}

// located names a frame by function and the end of its file's path.
func located(function, path string, library bool) frame {
	function = strings.TrimSpace(function)
	if function == "" {
		function = "<anonymous>"
	}
	elements := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' })
	elements = elements[max(0, len(elements)-2):]
	for i, e := range elements {
		elements[i] = withoutHash(e)
	}
	if len(elements) == 0 {
		return frame{function, library}
	}
	return frame{function + " (" + strings.Join(elements, "/") + ")", library}
}

// withoutHash takes generated parts out of a file's or directory's name: main.3f2a1b9c.js, index-B7xY12ab.js, the 20260301 of
// a release.
func withoutHash(name string) string {
	var out strings.Builder
	start := 0
	flush := func(end int) {
		if part := name[start:end]; generatedName(part) {
			out.WriteByte('*')
		} else {
			out.WriteString(part)
		}
	}
	for i := range len(name) {
		if name[i] == '.' || name[i] == '-' {
			flush(i)
			out.WriteByte(name[i])
			start = i + 1
		}
	}
	flush(len(name))
	return out.String()
}

// generatedName tells whether a part of a name is a hash, a time or a number rather than a word.
func generatedName(part string) bool {
	numbers, letters := 0, 0
	for i := range len(part) {
		switch c := part[i]; {
		case c >= '0' && c <= '9':
			numbers++
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			letters++
		default:
			return false
		}
	}
	return numbers > 0 && (letters == 0 || len(part) >= 8 || len(part) >= 6 && isHex(part))
}

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(s, p) })
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}
