package model_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triage/internal/model"
)

// stacks are one text a language or more, with what of it makes the group.
var stacks = []struct {
	name, typ, message, stack string
	wantType, wantMessage     string
	frames                    []string
}{
	{"go, as the SDK records it", "*errors.errorString", "no stock", `goroutine 41 [running]:
go.opentelemetry.io/otel/sdk/trace.recordStackTrace()
	/root/go/pkg/mod/go.opentelemetry.io/otel/sdk@v1.40.0/trace/span.go:519 +0x2f
shop.example/cart.(*Server).Total(0xc0001234a0, {0x1b2c3d, 0x5})
	/src/cart/server.go:88 +0x1d2
shop.example/cart.(*Server).Total.func1.2()
	/src/cart/server.go:90 +0x11
shop.example/cart.Map[...](0x1)
	/src/cart/map.go:9
net/http.HandlerFunc.ServeHTTP(0xc000, {0x1, 0x2}, 0x3)
	/usr/local/go/src/net/http/server.go:2220 +0x29
main.main()
	/src/main.go:12 +0x1
created by net/http.(*Server).Serve in goroutine 1
	/usr/local/go/src/net/http/server.go:3360 +0x485

goroutine 1 [IO wait]:
main.other()
	/src/main.go:99 +0x1
`, "*errors.errorString", "no stock",
		[]string{"shop.example/cart.(*Server).Total", "shop.example/cart.Map", "main.main"}},
	{"go, errors with %+v", "", "", "pool exhausted\nmain.get\n\t/src/main.go:7\nmain.run.func3\n\t/src/main.go:3\nruntime.goexit\n\t/usr/local/go/src/runtime/asm_amd64.s:1700",
		"", "pool exhausted", []string{"main.get", "main.run"}},
	{"go, many frames of libraries first", "", "", "goroutine 1 [running]:\n" + strings.Repeat("runtime.a()\n\t/usr/local/go/src/runtime/a.go:1\nruntime.b()\n\t/usr/local/go/src/runtime/b.go:1\n", 6) +
		strings.Repeat("main.c()\n\t/src/c.go:1\nmain.d()\n\t/src/c.go:2\n", 6), "", "", []string{"main.c", "main.d", "main.c", "main.d", "main.c"}},
	{"java, root cause", "com.shop.CheckoutException", "checkout failed", `com.shop.CheckoutException: checkout failed
	at com.shop.Checkout.pay(Checkout.java:42)
	at com.shop.Checkout.lambda$run$0(Checkout.java:31)
	Suppressed: java.io.IOException: close
		at com.shop.Wrong.close(Wrong.java:1)
	Caused by: com.shop.WrongCause: x
		at com.shop.Wrong.cause(Wrong.java:1)
	at java.base/java.lang.Thread.run(Thread.java:833)
Caused by: java.sql.SQLTimeoutException: timeout after 3000ms
	at org.postgresql.jdbc.PgStatement.execute(PgStatement.java:401)
	at com.shop.Stock$1.apply(Stock.java:17)
	at com.shop.Stock$$EnhancerBySpringCGLIB$$3fa12b.apply(<generated>)
	at com.shop.Stock$$Lambda$14/0x0000000800c03000.run(Unknown Source)
	at app//com.shop.Stock.lambda$find$12(Stock.java:20)
	... 12 more
`, "java.sql.SQLTimeoutException", "timeout after 3000ms",
		[]string{"com.shop.Stock$.apply", "com.shop.Stock.apply", "com.shop.Stock.lambda$find$"}},
	{"java, libraries only", "java.lang.NullPointerException", "", "java.lang.NullPointerException\n\tat java.util.HashMap.get(HashMap.java:5)\n\tat jdk.internal.reflect.GeneratedMethodAccessor83.invoke(Unknown Source)\n",
		"java.lang.NullPointerException", "", []string{"java.util.HashMap.get", "jdk.internal.reflect.GeneratedMethodAccessor.invoke"}},
	{"python", "KeyError", "'sku-17'", `Traceback (most recent call last):
  File "/usr/lib/python3.12/site-packages/flask/app.py", line 1511, in wsgi_app
    response = self.full_dispatch_request()
               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/releases/20260301120000/cart.py", line 20, in view
    return total(x)
  File "/srv/releases/20260301120000/cart.py", line 7, in total
    at (x)
KeyError: 'sku-17'
`, "KeyError", "'sku-17'", []string{"total (*/cart.py)", "view (*/cart.py)"}},
	{"python, direct cause", "app.CartError", "cannot add", `Traceback (most recent call last):
  File "/app/db.py", line 3, in query
    raise TimeoutError("slow")
TimeoutError: slow

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/app/cart.py", line 9, in add
    query()
app.CartError: cannot add
`, "TimeoutError", "slow", []string{"query (app/db.py)"}},
	{"python, during handling", "app.CartError", "cannot add", `Traceback (most recent call last):
  File "/app/db.py", line 3, in query
    raise TimeoutError("slow")
TimeoutError: slow

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/cart.py", line 9, in add
    query()
app.CartError: cannot add
`, "app.CartError", "cannot add", []string{"add (app/cart.py)"}},
	{"node", "TypeError", "x is not a function", `TypeError: x is not a function
    at Cart.total [as sum] (/app/src/cart.js:12:34)
    at async Promise.all (index 0)
    at new Cart (file:///app/src/cart.mjs:1:2)
    at Object.<anonymous> (/app/node_modules/express/lib/router.js:3:4)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)
    at /app/main.js:9:1
`, "TypeError", "x is not a function", []string{"Cart.total (src/cart.js)", "Promise.all (index 0)", "new Cart (src/cart.mjs)", "<anonymous> (app/main.js)"}},
	{"browsers", "Error", "boom", "total@https://shop.example/assets/index-B7xY12ab.js?v=3:1:5021\nhttps://other@shop.example/x",
		"Error", "boom", []string{"total (assets/index-*.js)"}},
	{".net, inner exception", "System.AggregateException", "One or more errors", `System.AggregateException: One or more errors
 ---> Shop.StockException: none left
   at Shop.Stock.<Find>d__12.MoveNext() in /src/Stock.cs:line 41
--- End of stack trace from previous location ---
   at System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw()
   at Shop.Stock.<>c__DisplayClass3_0.<Find>b__0(String sku, Int32 n)
   at Shop.Program.<Main>g__Local|0_0[T](T x) in C:\src\Program.cs:line 3
   --- End of inner exception stack trace ---
   at Shop.Cart.Total(List` + "`1 x)\n",
		"Shop.StockException", "none left", []string{"Shop.Stock.Find", "Shop.Stock.Find.lambda", "Shop.Program.Main.Local"}},
	{"ruby", "", "", "/app/cart.rb:12:in 'Cart#total': none left (Shop::StockError)\n\tfrom /app/cart.rb:7:in 'block (2 levels) in run'\n\tfrom /usr/lib/ruby/3.4.0/net/http.rb:9:in `start'\n",
		"Shop::StockError", "none left", []string{"Cart#total (app/cart.rb)", "block in run (app/cart.rb)"}},
	{"php", "PDOException", "gone", "#0 /app/src/Stock.php(12): PDO->query('SELECT 1')\n#1 /app/vendor/slim/App.php(3): Stock->find()\n#2 [internal function]: {closure}(1)\n#3 /app/src/x.php(9): App\\{closure:/app/src/x.php:3}()\n#4 {main}",
		"PDOException", "gone", []string{"PDO->query (src/Stock.php)", "App\\{closure} (src/x.php)"}},
	{"unknown language", "E", "at 5 items", "something\n  12: 0x7fff1234 - foo::bar\n", "E", "at 5 items", nil},
	{"recursion", "RecursionError", "", "Traceback (most recent call last):\n" + strings.Repeat("  File \"/app/a.py\", line 3, in f\n    f()\n", 900) + "RecursionError: maximum recursion depth exceeded",
		"RecursionError", "maximum recursion depth exceeded", []string{"f (app/a.py)"}},
}

func TestExceptionGroups(t *testing.T) {
	for _, c := range stacks {
		t.Run(c.name, func(t *testing.T) {
			k := model.Exception{Type: c.typ, Message: c.message, Stack: c.stack}.Group()
			if k.Type != c.wantType || k.Message != c.wantMessage {
				t.Errorf("type %q and message %q, want %q and %q", k.Type, k.Message, c.wantType, c.wantMessage)
			}
			if d := cmp.Diff(k.Frames, c.frames); d != "" {
				t.Errorf("frames (-got +want):\n%s", d)
			}
		})
	}
}

// TestWhatMakesAGroup holds pairs of exceptions against each other.
func TestWhatMakesAGroup(t *testing.T) {
	python := func(line, function string) string {
		return "Traceback (most recent call last):\n  File \"/app/a.py\", line " + line + ", in " + function + "\n    x\n"
	}
	for _, c := range []struct {
		name string
		a, b model.Exception
		same bool
	}{
		{"another line", model.Exception{Type: "E", Stack: python("3", "f")}, model.Exception{Type: "E", Stack: python("4", "f")}, true},
		{"another message with a stack", model.Exception{Type: "E", Message: "gone", Stack: python("3", "f")}, model.Exception{Type: "E", Message: "away", Stack: python("3", "f")}, true},
		{"another function", model.Exception{Type: "E", Stack: python("3", "f")}, model.Exception{Type: "E", Stack: python("3", "g")}, false},
		{"another type", model.Exception{Type: "E", Stack: python("3", "f")}, model.Exception{Type: "F", Stack: python("3", "f")}, false},
		{"another number", model.Exception{Type: "E", Message: "user 7 of 'a b' left"}, model.Exception{Type: "E", Message: "user 18 of 'c' left"}, true},
		{"another word", model.Exception{Type: "E", Message: "cannot read"}, model.Exception{Type: "E", Message: "cannot write"}, false},
		{"addresses and arguments", model.Exception{Stack: "goroutine 1 [running]:\nmain.f(0x1)\n\t/a/m.go:1 +0x1\n"},
			model.Exception{Stack: "goroutine 9 [running]:\nmain.f(0xc00, {0x2, 0x3})\n\t/b/m.go:2 +0x7\n"}, true},
		{"a frame or a message", model.Exception{Type: "E", Message: "f (app/a.py)"}, model.Exception{Type: "E", Stack: python("3", "f")}, false},
		{"another wrapper of the same cause", model.Exception{Type: "A", Stack: "A: x\n\tat a.A.a(A.java:1)\nCaused by: C: y\n\tat c.C.c(C.java:2)\n"},
			model.Exception{Type: "B", Stack: "B: z\n\tat b.B.b(B.java:1)\nCaused by: C: w\n\tat c.C.c(C.java:3)\n"}, true},
	} {
		a, b := c.a.Group(), c.b.Group()
		if (a.ID == b.ID) != c.same {
			t.Errorf("%s: same group is %v, want %v\n%+v\n%+v", c.name, a.ID == b.ID, c.same, a, b)
		}
	}
	// IDs are kept in links and notes, so they stay.
	if id := (model.Exception{Type: "KeyError", Message: "'x'"}).Group().ID; id != "77fd20939cddeac3" {
		t.Errorf("ID %s", id)
	}
}

func TestMessageTemplate(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "",
		"user 17 not found":                  "user <*> not found",
		`key "a b" is missing`:               `key "<*>" is missing`,
		"can't open it, isn't there":         "can't open it, isn't there",
		"dial tcp 10.0.0.1:5432: refused":    "dial tcp <*>:<*>: refused",
		"mail to a@b.example\nsecond line 2": "mail to <*>",
		"commit deadbeef is bad":             "commit <*> is bad",
		"결제 3건 실패":                           "결제 <*> 실패",
	} {
		if got := model.MessageTemplate(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestExceptionsOfRows(t *testing.T) {
	attr := func(kv ...string) (a model.Attrs) {
		for i := 0; i < len(kv); i += 2 {
			a = append(a, model.Attr{Key: kv[i], Value: model.String(kv[i+1])})
		}
		return a
	}
	event := func(name string, kv ...string) func() (model.Exception, bool) {
		return func() (model.Exception, bool) {
			return model.EventException(&model.SpanEvent{Name: name, Attrs: attr(kv...)})
		}
	}
	log := func(s model.Severity, kv ...string) func() (model.Exception, bool) {
		return func() (model.Exception, bool) { return model.LogException(s, attr(kv...).Str) }
	}
	for _, c := range []struct {
		name string
		read func() (model.Exception, bool)
		want model.Exception
	}{
		{"event", event("exception", "exception.type", "E", "exception.message", "m", "exception.stacktrace", "s"), model.Exception{Type: "E", Message: "m", Stack: "s"}},
		{"another event", event("retry", "exception.type", "E"), model.Exception{}},
		{"empty event", event("exception"), model.Exception{}},
		{"log", log(9, "exception.type", "E", "error", "m"), model.Exception{Type: "E"}},
		{"log of an error", log(17, "exception.type", "E", "error", "m"), model.Exception{Type: "E", Message: "m"}},
		{"an error only", log(17, "err", "m", "error.stack", "s"), model.Exception{Message: "m", Stack: "s"}},
		{"a warning", log(16, "error", "m"), model.Exception{}},
	} {
		got, ok := c.read()
		if got != c.want || ok != (c.want != model.Exception{}) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, ok, c.want)
		}
	}
}

// FuzzStack holds that no text breaks grouping, that frames are few and not empty, that the same text gives the same
// group, and that a template is its own form.
func FuzzStack(f *testing.F) {
	for _, c := range stacks {
		f.Add(c.typ, c.message, c.stack)
	}
	f.Add("", "", "at (\nat .(\n#0 x: (\n:in `'\n@:1:1\nFile \"\", line \n\t.go:1\n\t.go:1\nSuppressed: \nNext \n---> \nCaused by: ")
	f.Fuzz(func(t *testing.T, typ, message, stack string) {
		e := model.Exception{Type: typ, Message: message, Stack: stack}
		k := e.Group()
		if len(k.ID) != 16 || len(k.Frames) > 5 {
			t.Errorf("ID %q, %d frames", k.ID, len(k.Frames))
		}
		for i, frame := range k.Frames {
			if frame == "" || i > 0 && frame == k.Frames[i-1] {
				t.Errorf("frame %d is %q after %q", i, frame, k.Frames[:i])
			}
		}
		if d := cmp.Diff(k, e.Group()); d != "" {
			t.Error(d)
		}
		if once := model.MessageTemplate(message); len(once) < 400 && model.MessageTemplate(once) != once {
			t.Errorf("%q is the form of %q, and %q of that", once, message, model.MessageTemplate(once))
		}
	})
}

func BenchmarkExceptionGroup(b *testing.B) {
	for _, c := range stacks[:1] {
		b.SetBytes(int64(len(c.stack)))
		b.ReportAllocs()
		for b.Loop() {
			model.Exception{Type: c.typ, Message: c.message, Stack: c.stack}.Group()
		}
	}
}
