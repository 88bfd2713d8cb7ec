package runbook_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"triage/internal/runbook"
)

// What a program or a webhook says is kept without the secrets that triage knows of.
func TestOutputsHaveNoSecrets(t *testing.T) {
	t.Setenv("SHOP_DB_PASSWORD", "hunter2-hunter2")
	t.Setenv("SHOP_REGION", "eu-central")
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Header.Get("Authorization"), r.URL.Query().Get("access_token"), r.URL.Query().Get("room"))
	}))
	t.Cleanup(echo.Close)
	long := strings.Repeat("x", 9000)
	for name, c := range map[string]struct {
		do, output, problem, does string
	}{
		"the environment": {`{"command":["sh","-c","echo $SHOP_DB_PASSWORD $SHOP_REGION"]}`, "<secret> eu-central\n", "", `sh -c "echo $SHOP_DB_PASSWORD $SHOP_REGION"`},
		"arguments":       {`{"command":["echo","--token=abc123abc","--password","p4ssw0rd","open"]}`, "--token=<secret> --password <secret> open\n", "", "echo --token=<secret> --password <secret> open"},
		"the webhook": {fmt.Sprintf(`{"webhook":{"url":"%s/?access_token=s3cret-s3cret&room=lobby","headers":{"Authorization":"Bearer abcdefgh"}}}`, echo.URL), "<secret> <secret> lobby", "",
			fmt.Sprintf("POST %s/?access_token=<secret>&room=lobby", echo.URL)},
		"an error":                       {`{"webhook":{"url":"http://ops:opspassw0rd@127.0.0.1:1/?signature=abc%2Fdefgh"}}`, "", "<secret>", "POST http://ops:<secret>@127.0.0.1:1/?signature=<secret>"},
		"the configuration":              {`{"command":["echo","from-the-file"]}`, "<secret>\n", "", "echo <secret>"},
		"where the output was cut":       {`{"command":["sh","-c","printf %s${SHOP_DB_PASSWORD}%s"]}`, "x", "", ""},
		"what is too short is no secret": {`{"command":["echo","--token=ab","abc"]}`, "--token=ab abc\n", "", "echo --token=ab abc"},
	} {
		t.Run(name, func(t *testing.T) {
			c.do = strings.Replace(c.do, "printf %s$", "printf "+long[:100]+"$", 1)
			c.do = strings.Replace(c.do, "}%s", "}"+long[:8185], 1)
			d := open(t, fmt.Sprintf(`{"name":"say","when":{"alarm":{"rule":"errors"}},"do":%s,"approval":"none"}`, c.do))
			d.m.Observe(d.incident("INC-1"))
			d.next(runbook.Running)
			r := d.next("")
			if c.does != "" && r.Does != c.does {
				t.Errorf("it does %s, want %s", r.Does, c.does)
			}
			if name == "where the output was cut" {
				if strings.Contains(r.Output, "hunter") || strings.Contains(r.Output, "unter2") || len(r.Output) > 8<<10 {
					t.Errorf("output begins with %.40q", r.Output)
				}
				return
			}
			if r.Output != c.output || !strings.Contains(r.Error, c.problem) || strings.Contains(r.Error, "passw0rd") || strings.Contains(r.Error, "defgh") {
				t.Errorf("output %q, error %q; want %q, %q", r.Output, r.Error, c.output, c.problem)
			}
			for _, entry := range d.journal() {
				if strings.Contains(entry, "passw0rd") || strings.Contains(entry, "s3cret") || strings.Contains(entry, "defgh") {
					t.Errorf("the journal says %q", entry)
				}
			}
		})
	}
}
