package e2e

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"notesd/check"
	"notesd/store/storetest"
)

const kubernetes = "../deploy/kubernetes/"

// The manifests are what Kubernetes' own types take, and a slip in them is noticed.
func TestKubernetesManifests(t *testing.T) {
	t.Parallel()
	long(t, "it compiles Kubernetes' types")
	program := filepath.Join(t.TempDir(), "validate")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = kubernetes + "validate"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	slips := []struct{ name, old, new, want string }{
		{"as shipped", "", "", ""},
		{"an unknown member", "maxUnavailable: 0", "maxUnavailabel: 0", `unknown field "maxUnavailabel"`},
		{"a member twice", "minReplicas: 2", "minReplicas: 2\n  minReplicas: 3", `key "minReplicas" already set`},
		{"a number for a text", "SHUTDOWN_DELAY: 10s", "SHUTDOWN_DELAY: 10", "cannot unmarshal number"},
		{"no quantity", "memory: 512Mi", "memory: 512MiB", "quantities must match"},
		{"an old version", "autoscaling/v2", "autoscaling/v2beta2", "no kind of ours"},
	}
	text := readFile(t, kubernetes+"notesd.yaml")
	for _, tt := range slips {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "notesd.yaml")
			changed := strings.Replace(text, tt.old, tt.new, 1)
			if tt.old != "" && changed == text {
				t.Fatalf("there is no %q", tt.old)
			}
			write(t, file, changed)
			out, err := exec.Command(program, file, kubernetes+"secret.yaml").CombinedOutput()
			if (err != nil) != (tt.want != "") || !strings.Contains(string(out), tt.want) {
				t.Errorf("validate = %v, want %q:\n%s", err, tt.want, out)
			}
		})
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Clean(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// object is a Kubernetes object, as YAML has it, and each object in it.
type object map[string]any

// kubernetesObjects are the objects of a file, by kind.
func kubernetesObjects(t *testing.T, name string) map[string]object {
	t.Helper()
	in := yaml.NewDecoder(strings.NewReader(readFile(t, kubernetes+name)))
	found := map[string]object{}
	for {
		var o object
		err := in.Decode(&o)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found[fmt.Sprint(o["kind"])] = o
	}
}

// at is the value at a path such as spec.ports.0.port, as text.
func (o object) at(t *testing.T, path string) string {
	t.Helper()
	var v any = o
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case object:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				t.Fatalf("there is no %s", path)
			}
			v = in[i]
		}
	}
	if v == nil {
		t.Fatalf("there is no %s", path)
	}
	return fmt.Sprint(v)
}

func (o object) number(t *testing.T, path string) int {
	t.Helper()
	n, err := strconv.Atoi(o.at(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// settings are those of an object's member, with others in place of some.
func (o object) settings(t *testing.T, member string, instead map[string]string) (environ []string) {
	t.Helper()
	values, ok := o[member].(object)
	if !ok {
		t.Fatalf("there is no %s", member)
	}
	for name, value := range values {
		environ = append(environ, name+"="+cmp.Or(instead[name], fmt.Sprint(value)))
	}
	return environ
}

const container = "spec.template.spec.containers.0."

// As shipped the server refuses to start, and says which secrets nobody has
// made. With secrets it serves on these settings, all of them known to it,
// answers the probes, and leaves in less than the time it is given.
func TestKubernetesSettings(t *testing.T) {
	t.Parallel()
	all, secrets := kubernetesObjects(t, "notesd.yaml"), kubernetesObjects(t, "secret.yaml")["Secret"]
	deployment := all["Deployment"]
	image := []string{"APP_ENV=production", "HOST=127.0.0.1", "MAX_WORKERS=1"} // the last: however many cores this machine has
	shipped := newProcess(t, slices.Concat(image, all["ConfigMap"].settings(t, "data", nil), secrets.settings(t, "stringData", nil))...)
	said := shipped.fails()
	for _, name := range []string{"SESSION_SECRET", "ADMIN_TOKEN", "DATABASE_PASSWORD", "REDIS_URL"} {
		if !strings.Contains(said, name) {
			t.Errorf("it does not refuse the template's %s:\n%s", name, said)
		}
	}

	p := newProcess(t, slices.Concat(image,
		all["ConfigMap"].settings(t, "data", map[string]string{"DATABASE_URL": storetest.Postgres(t), "SHUTDOWN_DELAY": "1s"}),
		secrets.settings(t, "stringData", map[string]string{"SESSION_SECRET": strings.TrimPrefix(secret, "SESSION_SECRET="), "ADMIN_TOKEN": adminToken,
			"DATABASE_PASSWORD": "unused", "REDIS_URL": storetest.NewRedis(t).URL()}))...)
	p.start()
	p.awaitReady()
	for _, name := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		if path := deployment.at(t, container+name+".httpGet.path"); p.probe(path) != http.StatusOK {
			t.Errorf("the %s asks for %s, which answers %d", name, path, p.probe(path))
		}
	}
	if at := strings.Index(p.log.String(), `"level":"WARN"`); at >= 0 {
		t.Errorf("it warns: %.300s", p.log.String()[at:])
	}
	port := "EXPOSE " + deployment.at(t, container+"ports.0.containerPort") + "\n"
	data := "DATA_DIR=" + deployment.at(t, container+"volumeMounts.0.mountPath") + "\n"
	if dockerfile := readFile(t, "../Dockerfile"); !strings.Contains(dockerfile, port) || !strings.Contains(dockerfile, data) {
		t.Errorf("the image has other than %s and %s", port, data)
	}
	leaving := all["ConfigMap"].seconds(t, "data.SHUTDOWN_DELAY") + all["ConfigMap"].seconds(t, "data.SHUTDOWN_TIMEOUT")
	if grace := deployment.number(t, "spec.template.spec.terminationGracePeriodSeconds"); grace <= leaving {
		t.Errorf("a pod gets %d s to leave in, and may need %d", grace, leaving)
	}
	ready := container + "readinessProbe."
	noticed := deployment.number(t, ready+"periodSeconds")*deployment.number(t, ready+"failureThreshold") + deployment.number(t, ready+"timeoutSeconds")
	if delay := all["ConfigMap"].seconds(t, "data.SHUTDOWN_DELAY"); noticed >= delay {
		t.Errorf("the kubelet notices within %d s that a pod is leaving, and SHUTDOWN_DELAY is %d s", noticed, delay)
	}
	p.stop()
}

// seconds are those of a duration.
func (o object) seconds(t *testing.T, path string) int {
	t.Helper()
	d, err := time.ParseDuration(o.at(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return int(d.Seconds())
}

// The manifest says how many connections PostgreSQL needs for all pods that
// there can be, on as many cores as a pod has.
func TestKubernetesConnections(t *testing.T) {
	t.Parallel()
	all := kubernetesObjects(t, "notesd.yaml")
	replicas := all["HorizontalPodAutoscaler"].number(t, "spec.maxReplicas") + all["Deployment"].number(t, "spec.strategy.rollingUpdate.maxSurge")
	cores := all["Deployment"].number(t, container+"resources.limits.cpu")
	if cores > runtime.NumCPU() {
		t.Skipf("a pod has %d cores, more than this machine", cores)
	}
	p := newProcess(t, "DATABASE_URL="+storetest.Postgres(t), secret, fmt.Sprintf("MAX_WORKERS=%d", cores))
	p.must("", "migrate")
	out, _ := p.run("", "check", "-json", "-replicas", strconv.Itoa(replicas)) // this PostgreSQL may have fewer
	seen := found(t, reported(t, out), "connections").Seen
	m := regexp.MustCompile(`(\d+) replicas with (\d+) connections each make (\d+)`).FindStringSubmatch(seen)
	if m == nil {
		t.Fatalf("notesd check says %q", seen)
	}
	comment := regexp.MustCompile(`\s*\n# `).ReplaceAllString(readFile(t, kubernetes+"notesd.yaml"), " ")
	said := regexp.MustCompile(`make (\d+), each with DATABASE_MAX_CONNS \+ 2 = (\d+) connections: PostgreSQL needs max_connections=(\d+)`).FindStringSubmatch(comment)
	if said == nil || said[1] != m[1] || said[2] != m[2] {
		t.Fatalf("notesd.yaml says %q, notesd check %q", said, seen)
	}
	needed, _ := strconv.Atoi(m[3])
	if most, _ := strconv.Atoi(said[3]); most < needed+5 || most > needed+20 { // 3 are reserved, and people want to look
		t.Errorf("notesd.yaml asks for max_connections=%d, notesd check finds %d in use", most, needed)
	}
}

// In a container as confined as the pod's the check finds cores and memory well used.
func TestKubernetesContainer(t *testing.T) {
	needEngine(t)
	all := kubernetesObjects(t, "notesd.yaml")
	memory := strings.TrimSuffix(all["Deployment"].at(t, container+"resources.limits.memory"), "i") // docker's M is 1024²
	c, id := startContainer(t, "--memory", memory, "--cpus", all["Deployment"].at(t, container+"resources.limits.cpu"), "--cap-drop", "ALL",
		"--user", all["Deployment"].at(t, "spec.template.spec.securityContext.runAsUser"), "--security-opt", "no-new-privileges")
	c.get("/api/health").want(http.StatusOK)
	out, err := exec.Command("docker", "exec", id, "/notesd", "check", "-json").Output()
	if err != nil {
		t.Logf("notesd check: %v", err) // what is left to be mended is no row of those below
	}
	for _, row := range []string{"workers", "threads", "heap", "container-memory", "cache", "memory-monitor", "user", "ready"} {
		if f := found(t, reported(t, string(out)), row); f.Verdict != check.OK {
			t.Errorf("%s: %+v, want ok", row, f)
		}
	}
}

// What the autoscaler asks for, as prometheus-adapter asks Prometheus for it:
// below its targets while all is well, above them while there are too few workers.
func TestKubernetesQueueDelay(t *testing.T) {
	t.Parallel()
	m := newPrometheus(t, "")
	p := start(t, "MAX_WORKERS=1", "WORKERS_PER_SHARD=2", "QUEUE_LENGTH=2")
	m.scrape(t, "server-autoscaler.json", p.addr())
	targets := autoscalerTargets(t)
	for name, target := range targets {
		p.await(name+" of an idle server", func() bool {
			values := m.values(t, adapterQuery(t, name, p.addr()))
			return len(values) == 1 && values[0] < target
		})
	}
	l := startLoad(p.visitor(), 8, func(int, int) request { return request{http.MethodGet, "/api/fault/stall?for=300ms", ""} })
	for name, target := range targets {
		p.await(name+" of a busy one", func() bool {
			values := m.values(t, adapterQuery(t, name, p.addr()))
			return len(values) == 1 && values[0] > target
		})
	}
	l.stop()
	if len(targets) != 2 {
		t.Errorf("the autoscaler asks for %v", targets)
	}
}

// autoscalerTargets are what the autoscaler asks for, with what it wants each to be.
func autoscalerTargets(t *testing.T) map[string]float64 {
	t.Helper()
	autoscaler, targets := kubernetesObjects(t, "notesd.yaml")["HorizontalPodAutoscaler"], map[string]float64{}
	for i := range strings.Count(autoscaler.at(t, "spec.metrics"), "averageValue") {
		metric := fmt.Sprintf("spec.metrics.%d.pods.", i)
		thousandths, isThousandths := strings.CutSuffix(autoscaler.at(t, metric+"target.averageValue"), "m")
		n, err := strconv.Atoi(thousandths)
		if err != nil || !isThousandths {
			t.Fatalf("%s is no number of thousandths", metric)
		}
		targets[autoscaler.at(t, metric+"metric.name")] = float64(n) / 1000
	}
	return targets
}

// adapterQuery is the rule of a metric as the adapter would send it, but for its pace and for how pods are told apart.
func adapterQuery(t *testing.T, name, addr string) string {
	t.Helper()
	var adapter struct {
		Rules []struct {
			Name         struct{ As string }
			MetricsQuery string `yaml:"metricsQuery"`
		}
	}
	if err := yaml.Unmarshal([]byte(readFile(t, kubernetes+"adapter.yaml")), &adapter); err != nil {
		t.Fatal(err)
	}
	for _, rule := range adapter.Rules {
		if rule.Name.As == name {
			return hasten(strings.NewReplacer("<<.GroupBy>>", "instance", "<<.LabelMatchers>>", fmt.Sprintf("instance=%q", addr)).Replace(rule.MetricsQuery))
		}
	}
	t.Fatalf("adapter.yaml has no rule for %s", name)
	return ""
}

// values are those that Prometheus has for a query now.
func (m *prometheus) values(t *testing.T, query string) (values []float64) {
	t.Helper()
	answer, err := http.Get(m.url + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var in struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(answer.Body).Decode(&in); err != nil || in.Error != "" {
		t.Fatalf("%s: %v %s", query, err, in.Error)
	}
	for _, r := range in.Data.Result {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}
