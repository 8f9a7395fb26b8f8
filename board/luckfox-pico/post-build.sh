#!/bin/sh
# Buildroot calls this when the target folder is complete, before it is packed:
# post-build.sh TARGET [LINE...]
# Each LINE allows something more than allowed.txt (BR2_ROOTFS_POST_SCRIPT_ARGS; a variant's `allowed:`).
#
# The private inputs of one image come from the folder PICO_IMAGE_INPUTS, which the build prepares
# (pico_image/image/access.py). Without it, root stays locked:
#   pico-image-release   KEY=value lines for /etc/pico-image-release
#   authorized_keys      public keys for root and pico
#   root.md5, root.sha512   root's password, hashed in two ways
#   permit-root-login    value for sshd's PermitRootLogin
set -eu

target=${1:?usage: post-build.sh TARGET_FOLDER [LINE...]}
shift
inputs=${PICO_IMAGE_INPUTS:-}

fail() {
	# The word by which pico_image/sdk/log.py finds the cause among Buildroot's lines.
	echo "post-build: error: $1" >&2
	exit 1
}

# uClibc without the SHA option of its crypt(3) refuses every $6$ password: nobody could log in.
# The Luckfox SDK's own image has an MD5 password.
hash_file() {
	config=${STAGING_DIR:-/nonexistent}/usr/include/bits/uClibc_config.h
	if [ -f "$config" ] && ! grep -q '__UCLIBC_HAS_SHA512_CRYPT_IMPL__ 1' "$config"; then
		echo root.md5
	else
		echo root.sha512
	fi
}

install_keys() {
	mkdir -p "$target$1/.ssh"
	cp "$inputs/authorized_keys" "$target$1/.ssh/authorized_keys"
	chmod 0700 "$target$1/.ssh"
	chmod 0600 "$target$1/.ssh/authorized_keys"
}

# listing [LINE...]: the rules, then what is in the target folder, each line with a letter for its kind.
listing() {
	sed 's/^/r /' "$list"
	[ $# -eq 0 ] || printf 'v %s\n' "$@"
	(
		cd "$target"
		find . -type l | sed 's/^\./l /'
		find . -type f \( -perm -100 -o -perm -10 -o -perm -1 \) | sed 's/^\./x /'
		find . -type f ! \( -perm -100 -o -perm -10 -o -perm -1 \) | sed 's/^\./f /'
		find . ! -type f ! -type d ! -type l | sed 's/^\./s /'
		find . -type f \( -perm -4000 -o -perm -2000 \) | sed 's/^\./u /'
		find . ! -type l -perm -2 | sed 's/^\./w /'
		[ ! -d etc ] || find ./etc ! -type l -perm -20 | sed 's/^\./w /'
		# A link is refused below; it would be followed on the machine that builds.
		[ -L etc/inittab ] || [ ! -f etc/inittab ] || sed 's/^/i /' etc/inittab
		[ -L etc/passwd ] || [ ! -f etc/passwd ] || sed 's/^/p /' etc/passwd
		# The names of busybox's applets end in a zero byte each.
		find . -type f -name 'busybox*' -perm -100 -exec cat {} + |
			LC_ALL=C tr -c '[:print:]' '\n' | sed 's/^/a /'
	)
}

# What allowed.txt does not allow, a line each. pico_image/card/allowed.py makes the same checks of the
# packed root file system. Buildroot sets owners, accounts and the modes of its tables only while it
# packs (fakeroot), so those cannot be seen here: an owner other than root, busybox's setuid bit.
not_allowed() {
	listing "$@" | awk '
	function bad(text) { print "  " text }
	# Names of programs are compared in small letters, those of init scripts as they are.
	function base(path) {
		sub(/.*\//, "", path)
		return path ~ /^S[0-9][0-9]/ ? path : tolower(path)
	}
	function refused(name) {
		return ("never", name) in ok || (("listens", name) in ok && !(("service", name) in ok))
	}
	function why(name) { return ok[("never", name) in ok ? "never" : "listens", name] }
	{ text = substr($0, 3) }
	/^[rv] / {
		reason = "the variant"
		if (index(text, "#")) {
			reason = substr(text, index(text, "#") + 2)
			text = substr(text, 1, index(text, "#") - 1)
		}
		count = split(text, words)
		variant = /^v /
		if (variant && words[1] !~ /^(init|inittab|start|service|setuid|owner|writable|device|keys)$/)
			bad("unknown kind of line: " text)
		# What follows the first word of these are its port, owner or mode.
		last = words[1] ~ /^(service|setuid|writable)$/ ? 2 : count
		for (i = 2; i <= last; i++) {
			if (variant && ("never", base(words[i])) in ok)
				bad(words[i] " cannot be allowed: " ok["never", base(words[i])])
			ok[words[1], words[i]] = reason
		}
	}
	/^[lxf] / {
		name = base(text)
		if (("never", name) in ok || (!/^f/ && refused(name)))
			bad(text ": " name " may not be in an image (" why(name) ")")
		if (name ~ /^authorized_keys/ && !(("keys", text) in ok))
			bad(text ": keys that may log in, and the build puts none there")
		if (text == "/etc/init.d")
			bad(text " is no folder, so its scripts cannot be seen")
		else if (index(text, "/etc/init.d/") == 1) {
			if (!(("init", substr(text, 13)) in ok))
				bad(text ": an init script that is not allowed")
		} else if (!(("start", text) in ok))
			for (place = text; place != ""; sub(/\/[^\/]*$/, "", place))
				if (("starts", place) in ok)
					bad(text " starts programs (" ok["starts", place] ")")
	}
	/^l \/etc\/(group|inittab|passwd|shadow)$/ {
		bad(text " is a link, so what is in it cannot be seen")
	}
	/^a / && refused(text) {
		bad("busybox has the applet " text " (" why(text) "): set CONFIG_" toupper(text) \
			" to n (make busybox-menuconfig), then build busybox again")
	}
	/^s / && !(("device", text) in ok) { bad(text " is a device node, a pipe or a socket") }
	/^u / && !(("setuid", text) in ok) { bad(text " runs with the rights of its owner (setuid)") }
	/^w / && !(("writable", text) in ok) { bad(text " can be written by others than its owner") }
	/^i / {
		sub(/#.*/, "", text)
		sub(/^[^:]*:[^:]*:[^:]*:/, "", text)
		if (!split(text, words))
			next
		if (!(("inittab", words[1]) in ok))
			bad("/etc/inittab starts " text ", which is not allowed")
		else if (words[1] ~ /getty$/ && text ~ / -[A-Za-z]*[nl]/)
			bad("/etc/inittab starts a getty without a login: " text)
	}
	/^p / {
		split(text, words, ":")
		if (words[3] == "0" && (words[1] != "root" || root++))
			bad("/etc/passwd: " words[1] " has the user number 0, which is the right of root alone")
		if (text ~ /^[^:]+::/)
			bad("/etc/passwd: " words[1] " has no password, so everybody can log in")
	}
	'
}

# Mount points of S20linkmount. The root file system may be mounted read-only when it starts.
mkdir -p "$target/oem" "$target/userdata"

list=$(dirname "$0")/allowed.txt
[ -r "$list" ] || fail "could not read $list, which says what an image may have"
found=$(not_allowed "$@")
[ -z "$found" ] || fail "the root file system has what ${list##*/} does not allow:
$found
  Take out what brings it, or allow it by name in the variant's file under allowed: (docs/buildroot.md,
  What may be in an image)."

# By default Buildroot makes a root without a password; our defconfig turns that off, but menuconfig
# can turn it on again. Every account without a password is locked.
if [ -f "$target/etc/shadow" ]; then
	sed -i 's/^\([^:]*\)::/\1:*:/' "$target/etc/shadow"
fi

if [ -z "$inputs" ]; then
	echo "post-build: PICO_IMAGE_INPUTS is not set: root's password stays locked," \
		"log in with a key that you put into /root/.ssh/authorized_keys" >&2
	exit 0
fi
[ -d "$inputs" ] || fail "PICO_IMAGE_INPUTS=$inputs is not a folder"

if [ -f "$inputs/pico-image-release" ]; then
	mkdir -p "$target/etc"
	cp "$inputs/pico-image-release" "$target/etc/pico-image-release"
	chmod 0644 "$target/etc/pico-image-release"
fi

for home in /root /home/pico; do
	# Of an overlay, or of a build that had a key. The keys below take its place.
	if [ -e "$target$home/.ssh/authorized_keys" ] && [ ! -f "$inputs/authorized_keys" ]; then
		fail "$home/.ssh/authorized_keys is in the root file system, and this build was given no key:
  give it (invoke build-image --ssh-key FILE), or remove the file from the overlay and the target folder."
	fi
done
if [ -f "$inputs/authorized_keys" ]; then
	install_keys /root
	# Its owner is set by users.txt, which Buildroot applies to the whole home folder.
	install_keys /home/pico
fi

if [ -f "$inputs/root.sha512" ]; then
	shadow=$target/etc/shadow
	[ -f "$shadow" ] || fail "$shadow is missing, root's password cannot be set"
	grep -q '^root:' "$shadow" || fail "$shadow has no line for root"
	hash=$(cat "$inputs/$(hash_file)")
	# Hashes contain $ . / and letters, none of which is special in the replacement of this sed.
	sed -i "s|^root:[^:]*:|root:$hash:|" "$shadow"
	chmod 0600 "$shadow"
fi

sshd=$target/etc/ssh/sshd_config
if [ -f "$inputs/permit-root-login" ] && [ -f "$sshd" ]; then
	permit=$(cat "$inputs/permit-root-login")
	# sshd uses the first value, so older lines are removed.
	sed -i '/^[# ]*\(PermitRootLogin\|PermitEmptyPasswords\)[ \t]/d' "$sshd"
	printf 'PermitRootLogin %s\nPermitEmptyPasswords no\n' "$permit" >>"$sshd"
fi
