package demo

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"triage/demo/shop"
)

// errNoPostgres says that this machine has no PostgreSQL server to start.
var errNoPostgres = errors.New("no PostgreSQL server on this machine")

// findPostgres is the directory with the newest server's binaries.
func findPostgres() (string, error) {
	var dirs []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin", "/usr/local/pgsql/bin"} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		slices.Reverse(found)
		dirs = append(dirs, found...)
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		dirs = append([]string{filepath.Dir(initdb)}, dirs...)
	}
	for _, dir := range dirs {
		_, errInit := os.Stat(filepath.Join(dir, "initdb"))
		_, errRun := os.Stat(filepath.Join(dir, "postgres"))
		if errInit == nil && errRun == nil {
			return dir, nil
		}
	}
	return "", errNoPostgres
}

// startPostgres makes and starts a private server under dir, reachable with a password of this run only, and creates
// an empty database in it. Nothing in it is meant to survive, so it never syncs.
func startPostgres(ctx context.Context, dir, logs string) (*proc, shop.Database, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, shop.Database{}, err
	}
	secret := make([]byte, 16)
	_, _ = rand.Read(secret) // never fails
	password := hex.EncodeToString(secret)
	home := filepath.Join(dir, "postgres")
	data, pwfile := filepath.Join(home, "data"), filepath.Join(home, "password")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, shop.Database{}, err
	}
	if err := os.WriteFile(pwfile, []byte(password+"\n"), 0o600); err != nil {
		return nil, shop.Database{}, err
	}
	attr, err := unprivileged(home, pwfile)
	if err != nil {
		return nil, shop.Database{}, err
	}
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "shop", "--auth=scram-sha-256",
		"--pwfile="+pwfile, "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = home, attr
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, shop.Database{}, fmt.Errorf("create the database's directory: %w: %s", err, out)
	}
	port, err := freePort()
	if err != nil {
		return nil, shop.Database{}, err
	}
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port))
	for _, setting := range []string{"listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off",
		"synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=30",
		"max_wal_size=256MB", "wal_level=minimal", "max_wal_senders=0"} {
		server.Args = append(server.Args, "-c", setting)
	}
	server.Dir, server.SysProcAttr = home, attr
	p, err := start("postgres", logs, server, nil)
	if err != nil {
		return nil, shop.Database{}, err
	}
	dsn := func(name string) string {
		u := url.URL{Scheme: "postgres", User: url.UserPassword("shop", password),
			Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: name, RawQuery: "sslmode=disable"}
		return u.String()
	}
	admin, err := sql.Open("pgx", dsn("postgres"))
	if err == nil {
		defer func() { _ = admin.Close() }()
		if err = p.wait(ctx, 20*time.Second, admin.PingContext); err == nil {
			_, err = admin.ExecContext(ctx, "CREATE DATABASE stock")
		}
	}
	if err != nil {
		p.stop(syscall.SIGQUIT, time.Second)
		return nil, shop.Database{}, fmt.Errorf("start the database: %w", err)
	}
	return p, shop.Database{Driver: "pgx", DSN: dsn("stock")}, nil
}

// unprivileged says as whom to run the server: PostgreSQL refuses to run as root. The paths become that user's.
func unprivileged(paths ...string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.Atoi(u.Uid)
		gid, errG := strconv.Atoi(u.Gid)
		if err := errors.Join(errU, errG); err != nil {
			return nil, err
		}
		for _, p := range paths {
			if err := os.Chown(p, uid, gid); err != nil {
				return nil, fmt.Errorf("give %s to %s: %w", p, name, err)
			}
		}
		return as(uid, gid), nil
	}
	return nil, errors.New("run PostgreSQL: it refuses to run as root, and there is neither a user postgres nor nobody")
}

// freePort is a port that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
