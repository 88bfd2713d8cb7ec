package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"triage/internal/manifest"
	"triage/internal/model"
	"triage/internal/notify"
	"triage/internal/slo"
)

// declared applies what users declare in files.
func (a *app) declared() *manifest.Manager {
	return manifest.New(manifest.Options{State: a.state, Owners: map[string]manifest.Owner{
		"Alarm": {Check: a.alarms.Check, Reload: a.alarms.Reload},
		"SLO":   {Together: slo.Together, Reload: a.slos.Reload},
		// What SLOs refer to is read with them.
		"SLI": {Reload: a.slos.Reload}, "AlertPolicy": {Reload: a.slos.Reload}, "AlertCondition": {Reload: a.slos.Reload},
		"Dashboard": {Reload: a.dashboards.Reload},
		"Runbook":   {Reload: a.runbooks.Reload},
		"Routes":    {Check: a.checkRoutes, Reload: a.takeRoutes},
	}})
}

var errRoutesConfigured = errors.New("the configuration of the server says who is told (notify): remove it there first")

func (a *app) checkRoutes(_ context.Context, tenant string, bodies map[string][]byte) (map[string]error, error) {
	wrong := map[string]error{}
	for name, b := range bodies {
		switch {
		case a.configured.Load():
			wrong[name] = errRoutesConfigured
		case tenant != model.DefaultTenant:
			wrong[name] = errors.New("only the default tenant has routes")
		default:
			if _, err := a.parseRoutes(b); err != nil {
				wrong[name] = err
			}
		}
	}
	return wrong, nil
}

func (a *app) parseRoutes(body []byte) (*notify.Config, error) {
	var r notify.Routes
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	return notify.Parse([]byte(r.Alertmanager), ".", a.Config.publicURL(), nil, a.Logger)
}

// takeRoutes makes who is told be what is declared.
func (a *app) takeRoutes(ctx context.Context, _ string) error {
	who, err := a.who(ctx, a.Config)
	if err == nil {
		a.notify.SetConfig(who)
		a.learnSecrets(ctx, a.Config)
	}
	return err
}

// who reads who is told of incidents: what a configuration says, or else what is declared; nil if nobody is.
func (a *app) who(ctx context.Context, c Config) (*notify.Config, error) {
	who, err := c.notifier(a.Logger)
	a.configured.Store(who != nil)
	if err != nil || who != nil {
		return who, err
	}
	docs, err := a.state.Documents(ctx, model.DefaultTenant, notify.RoutesKind)
	if err != nil || len(docs) == 0 {
		return nil, err
	}
	who, err = a.parseRoutes(docs[0].Body) // there is one tree
	if err != nil {                        // what it names may be gone; that must not keep the server from running
		a.Logger.Error("nobody is told of incidents: the routes that were applied cannot be used", "error", err)
		return nil, nil
	}
	return who, nil
}

// tokenFile holds what a request must carry that acts on the world or reads files.
const tokenFile = "token"

// token reads the data directory's token, and makes one the first time.
func (a *app) token() (string, error) {
	path := filepath.Join(a.Config.Data, tokenFile)
	b, err := os.ReadFile(path)
	if token := strings.TrimSpace(string(b)); err == nil && token != "" {
		return token, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read token: %w", err)
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails, by its contract
	token := hex.EncodeToString(random[:])
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write token: %w", err)
	}
	a.Logger.Info("made a token for what acts on the world", "file", path)
	return token, nil
}
