#!/bin/sh
# Buildroot calls this when the target folder is complete, before it is packed: post-build.sh TARGET
#
# The private inputs of one image come from the folder PICO_IMAGE_INPUTS, which the build prepares
# (pico_image/image/access.py). Without it, root stays locked:
#   pico-image-release   KEY=value lines for /etc/pico-image-release
#   authorized_keys      public keys for root and pico
#   root.md5, root.sha512   root's password, hashed in two ways
#   permit-root-login    value for sshd's PermitRootLogin
set -eu

target=${1:?usage: post-build.sh TARGET_FOLDER}
inputs=${PICO_IMAGE_INPUTS:-}

fail() {
	echo "post-build: $1" >&2
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

# By default Buildroot makes a root without a password; our defconfig turns that off, but menuconfig
# can turn it on again. Every account without a password is locked.
if [ -f "$target/etc/shadow" ]; then
	sed -i 's/^\([^:]*\)::/\1:*:/' "$target/etc/shadow"
fi

# Our fragment takes telnetd out of busybox, menuconfig or another package can bring it back.
for file in etc/init.d/S50telnet usr/sbin/telnetd sbin/telnetd usr/sbin/in.telnetd; do
	if [ -e "$target/$file" ] || [ -L "$target/$file" ]; then
		fail "/$file is in the root file system: a login without encryption on port 23 of every
  interface. Set CONFIG_TELNETD to n in busybox (make busybox-menuconfig), then build busybox again."
	fi
done

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
