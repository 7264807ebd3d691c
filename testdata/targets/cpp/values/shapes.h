// Classes with virtual functions, of which units that include this see no more
// than a declaration in their debug information: it is where shapes.cpp has it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#if !defined(TRACED) && defined(__clang__)
#define TRACED __attribute__((noinline, used))
#elif !defined(TRACED)
#define TRACED __attribute__((noipa, used))
#endif

namespace shop {

class Figure {
public:
	virtual ~Figure();
	virtual int area() const = 0;
	int twice() const;

protected:
	std::string colour = "red";
};

class Circle : public Figure {
	int radius;

public:
	explicit Circle(int radius);
	int area() const override;
};

class Labelled {
public:
	virtual ~Labelled();
	virtual std::size_t length() const;

private:
	short tag = 7;
};

class Badge : public Circle, public Labelled {
	int number;

public:
	explicit Badge(int number);
	std::size_t length() const override;
};

// A class without data: what is said of it is its name.
struct Plain : Figure {
	int area() const override;
};

struct Device {
	virtual ~Device();
	int id = 1;
};

struct Source : virtual Device {
	~Source() override;
	int reads = 2;
};

struct Sink : virtual Device {
	~Sink() override;
	int writes = 3;
};

struct Disk : Source, Sink {
	~Disk() override;
	int blocks = 4;
};

class Window {
	int width = 640;

public:
	Window();
	virtual ~Window();
	int setup() const;
};

class Dialog : public Window {
	int buttons = 2;

public:
	~Dialog() override;
};

void virtual_calls();

} // namespace shop
